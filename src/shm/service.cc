#include "shm/service.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace memfabric::shm {

std::uint32_t SupportedOps(std::span<const std::unique_ptr<transport::Transport>> transports) {
  std::uint32_t ops = DataOp::kCopyEngine;
  for (const auto& transport : transports) {
    if (transport->capabilities().load_store) ops |= DataOp::kLoadStore;
    if (transport->capabilities().rdma) ops |= DataOp::kRdma;
  }
  return ops;
}

Result<std::unique_ptr<Service>> Service::Open(Runtime& runtime, const InitOptions& options,
                                               std::shared_ptr<const store::TlsCredentials> tls) {
  ASSIGN_OR_RETURN(auto device, runtime.devices().Find(options.device_id));
  ASSIGN_OR_RETURN(auto url, ParseStoreUrl(options.store_url));
  Deadline deadline = std::chrono::steady_clock::now() + options.config.init_timeout;
  std::unique_ptr<Service> service(new Service(runtime, options, device));
  JobOptions job;
  job.url = url;
  job.service = "shm";
  job.tls = std::move(tls);
  job.world_size = options.world_size;
  job.rank = options.rank;
  job.start_store = options.config.start_store;
  ASSIGN_OR_RETURN(service->job_, Job::Open(job, runtime.reactor(), *service, deadline));
  log::SetRank(options.rank);
  LOG(kInfo, "Shared Memory: rank {} of {} at {}", options.rank, options.world_size,
      options.store_url);
  return service;
}

Service::~Service() {
  job_.reset();
  log::SetRank(-1);
}

Result<std::shared_ptr<Object>> Service::CreateObject(const CreateOptions& options) {
  std::unique_lock lock(mutex_);
  std::uint64_t returns = returns_;
  lock.unlock();
  auto object = Object::Create(*job_, runtime_, options_, device_.numa_node, options, across_);
  lock.lock();
  if (object.ok()) {
    std::erase_if(objects_, [](const auto& known) { return known.expired(); });
    objects_.push_back(*object);
    bool missed = returns != returns_;
    lock.unlock();
    if (missed) (void)(*object)->OnReturned();  // it has said so
    return object;
  }
  if (away_.ok() || !IsInterrupted(object.status()))
    return job_->session().Explain(std::move(object).status());
  return Reconnect("object {} was not created: {}", options.id, away_.message());
}

void Service::SetAway(const Status& why) {
  std::lock_guard lock(mutex_);
  away_ = why;
  across_.away = !why.ok();
}

void Service::OnGivenUp(const Status& why) {
  LOG(kWarn, "Shared Memory: {}", why.message());
  SetAway(why);
}

Status Service::OnReturned() {
  std::vector<std::weak_ptr<Object>> objects;
  {
    std::lock_guard lock(mutex_);
    objects = objects_;
    ++returns_;
  }
  Status first;
  for (const auto& known : objects) {
    auto object = known.lock();
    if (object == nullptr) continue;
    Status status = object->OnReturned();
    if (first.ok()) first = std::move(status);
  }
  SetAway(Ok());  // objects work without their windows' records
  return first;
}

void Service::OnReplaced(const Status& why) {
  LOG(kError, "Shared Memory: {}", why.message());
  SetAway(why);
}

}  // namespace memfabric::shm
