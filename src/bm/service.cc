#include "bm/service.h"

#include <algorithm>

#include "base/log.h"

namespace memfabric::bm {

Result<std::unique_ptr<Service>> Service::Open(Runtime& runtime, const InitOptions& options,
                                               std::shared_ptr<const store::TlsCredentials> tls) {
  ASSIGN_OR_RETURN(auto device, runtime.devices().Find(options.device_id));
  ASSIGN_OR_RETURN(auto url, ParseStoreUrl(options.store_url));
  Deadline deadline = std::chrono::steady_clock::now() + options.config.init_timeout;
  if (options.config.store_tls.enabled) {
    auto loaded = store::LoadTls(options.config.store_tls);
    if (!loaded.ok()) return loaded.status().WithContext("storeTlsConfig");
    tls = std::move(*loaded);
  }
  if (options.config.data_tls && tls == nullptr)
    return InvalidArgument(
        "data_tls asks to encrypt what goes between hosts, and the store at {} doesn't use TLS: "
        "who reads its traffic would "
        "read "
        "the keys. Call set_conf_store_tls first, or set the environment variable "
        "MEMFABRIC_DATA_TLS=1 to encrypt nevertheless",
        options.store_url);
  std::unique_ptr<Service> service(new Service(runtime, options, device));
  if (options.config.start_store_only) {
    if (url.scheme != StoreUrl::Scheme::kTcp)
      return InvalidArgument(
          "start_store_only needs a tcp:// store url; '{}' names a cluster that somebody else runs",
          options.store_url);
    ASSIGN_OR_RETURN(service->store_only_,
                     store::StoreHost::Start(url, store::Serve::kNow, tls, deadline));
    return service;
  }
  JobOptions job;
  job.url = url;
  job.tls = std::move(tls);
  job.world_size = options.world_size;
  if (!options.config.auto_ranking && options.config.rank != kUnsetRank)
    job.rank = options.config.rank;
  job.start_store = options.config.start_store;
  ASSIGN_OR_RETURN(service->job_, Job::Open(job, runtime.reactor(), *service, deadline));
  log::SetRank(service->job_->rank());
  LOG(kInfo, "rank {} of {} at {}", service->job_->rank(), options.world_size, options.store_url);
  return service;
}

Service::~Service() {
  job_.reset();
  log::SetRank(-1);
}

bool Service::Serves(const StoreUrl& url) const {
  if (store_only_ != nullptr) return store_only_->serving() && url.ToString() == options_.store_url;
  return job_ != nullptr && job_->ServesStore() && job_->url() == url;
}

Result<std::shared_ptr<Pool>> Service::CreatePool(const CreateOptions& options, ReadGate& gate) {
  if (job_ == nullptr)
    return NotStarted(
        "this process was initialized with start_store_only: it serves the store and has no rank "
        "to create a pool with");
  std::uint64_t times_before;
  {
    std::lock_guard lock(mutex_);
    times_before = times_given_up_;
  }
  ASSIGN_OR_RETURN(auto pool,
                   Pool::Create(*job_, runtime_, options_, device_.numa_node, options, gate));
  std::unique_lock lock(mutex_);
  if (times_before != times_given_up_) {
    lock.unlock();
    pool->Close();
    return Reconnect("the other ranks gave this process up while it created pool {}: try again",
                     options.id);
  }
  std::erase_if(pools_, [](const auto& weak) { return weak.expired(); });
  pools_.push_back(pool);
  return pool;
}

Status Service::UpdateStoreUrl(const std::string& text) {
  if (job_ == nullptr)
    return NotStarted("this process only serves the store: it has no connection to move");
  ASSIGN_OR_RETURN(auto url, ParseStoreUrl(text));
  return job_->MoveTo(url, std::chrono::steady_clock::now() + options_.config.operation_timeout);
}

std::vector<std::shared_ptr<Pool>> Service::OpenPools() {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Pool>> open;
  for (const auto& weak : pools_) {
    if (auto pool = weak.lock()) open.push_back(std::move(pool));
  }
  return open;
}

void Service::OnGivenUp(const Status& why) {
  LOG(kWarn, "{}", why.message());
  {
    std::lock_guard lock(mutex_);
    ++times_given_up_;
  }
  for (const auto& pool : OpenPools()) pool->OnGivenUp(why);
}

Status Service::OnReturned() {
  Status first;
  for (const auto& pool : OpenPools()) {
    Status status = pool->OnReturned();
    if (first.ok()) first = std::move(status);
  }
  return first;
}

void Service::OnReplaced(const Status& why) {
  LOG(kError, "{}", why.message());
  for (const auto& pool : OpenPools()) pool->OnReplaced(why);
}

}  // namespace memfabric::bm
