#include "capi/library.h"

#include <pthread.h>

#include <cstdlib>

#include "base/fd.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/wait.h"

namespace memfabric::capi {
namespace {

std::atomic<Library*> instance{nullptr};
// a runtime has existed in this process, or in the one it was forked from
std::atomic<bool> was_initialized{false};

void AtExit() {
  if (Library* library = instance.load()) library->Uninitialize();
}

std::atomic<Library*> inherited{nullptr};  // the parent's, in a forked child

}  // namespace

void Library::BeforeFork() {
  if (Library* library = instance.load()) library->tls_mutex_.Lock();
}

void Library::AfterForkInParent() {
  if (Library* library = instance.load()) library->tls_mutex_.Unlock();
}

void Library::AfterForkInChild() {
  CloseOwnedFdsAfterFork();
  log::ResetAfterFork();
  // The parent's threads, locks and sockets aren't ours. What it had built is left where it is,
  // never touched and never freed; only the TLS settings are taken over when a library is made
  // here: a child must not speak in the clear unknowingly.
  Library* parent = instance.exchange(nullptr);
  if (parent == nullptr) return;
  parent->tls_mutex_.Unlock();
  inherited.store(parent);
}

Library& Library::Instance() {
  Library* library = instance.load(std::memory_order_acquire);
  if (library != nullptr) return *library;
  static std::once_flag registered;
  std::call_once(registered,
                 [] { pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild); });
  // Never destroyed: calls may come from any thread up to the process's end. smem_uninit ends what
  // must be ended.
  auto* fresh = new Library;
  fresh->forked_from_initialized_ = was_initialized.load();
  if (Library* parent = inherited.load()) fresh->TakeTls(*parent);
  if (instance.compare_exchange_strong(library, fresh)) return *fresh;
  delete fresh;
  return *library;
}

void Library::TakeTls(Library& parent) {
  MutexLock theirs(parent.tls_mutex_);
  MutexLock lock(tls_mutex_);
  tls_ = parent.tls_;
}

Status Library::EnsureRuntime() {
  if (runtime_ != nullptr) return Ok();
  if (forked_from_initialized_)
    return Unsupported(
        "this process was forked from one that had initialized MemFabric, and gRPC's threads did "
        "not come along: "
        "fork before initialize, or start processes with 'spawn' or 'forkserver'");
  // Before AtExit is registered: what is registered last runs first at exit.
  store::PrepareOpenSsl();
  ASSIGN_OR_RETURN(runtime_, Runtime::Create());
  has_runtime_ = true;
  // A program that ends without smem_uninit must not have our threads run into the libraries'
  // static destructors.
  if (!was_initialized.exchange(true)) std::atexit(AtExit);
  return Ok();
}

Status Library::Initialize() {
  MutexLock lock(mutex_);
  return EnsureRuntime();
}

void Library::Uninitialize() {
  if (InUserCallback()) {
    LOG(kError,
        "uninitialize was called from an event handler, whose thread it would have to wait for: "
        "ignored");
    return;
  }
  CloseTrans();
  CloseBm();
  CloseShm();
  MutexLock lock(mutex_);
  // opened anew meanwhile
  if (bm_.IsOpen() || shm_.IsOpen() || trans_.IsOpen()) return;
  stores_.clear();
  has_runtime_ = false;
  runtime_.reset();
}

Status Library::SetStoreTls(bool enable, std::string_view info) {
  MutexLock lock(tls_mutex_);
  if (enable) return tls_.Enable(info);
  tls_.Disable();
  return Ok();
}

Status Library::SetStoreTlsKey(std::string_view pem, std::string_view password) {
  MutexLock lock(tls_mutex_);
  return tls_.SetKey(pem, password);
}

Result<std::shared_ptr<const store::TlsCredentials>> Library::StoreTls() {
  MutexLock lock(tls_mutex_);
  return tls_.Credentials();
}

Status Library::CreateStore(const std::string& text) {
  ASSIGN_OR_RETURN(auto url, ParseStoreUrl(text));
  if (url.scheme != StoreUrl::Scheme::kTcp)
    return InvalidArgument(
        "store url '{}' names a cluster that somebody else runs; a store can be started at "
        "tcp://host:port",
        text);
  MutexLock lock(mutex_);
  if (stores_.contains(url.ToString())) return Ok();
  if (bm_.Serves(url) || shm_.Serves(url)) return Ok();
  RETURN_IF_ERROR(EnsureRuntime());
  store::EmbeddedServer::Options options;
  options.listen = url.endpoints.front();
  ASSIGN_OR_RETURN(options.tls, StoreTls());
  auto server = store::EmbeddedServer::Start(options);
  if (!server.ok()) return server.status().WithContext(fmt::format("store at {}", text));
  stores_.emplace(url.ToString(), std::move(*server));
  return Ok();
}

void Library::DestroyStore(const std::string& text) {
  auto url = ParseStoreUrl(text);
  if (!url.ok()) return;
  MutexLock lock(mutex_);
  stores_.erase(url->ToString());
}

template <typename Service, typename Table, typename Options>
Status Library::Open(ServiceSlot<Service>& slot, Table& objects, const Options& options,
                     bool with_tls) {
  MutexLock lock(mutex_);
  CancelScope scope(open_cancelled_);
  ASSIGN_OR_RETURN(bool open, slot.IsOpenAs(options));
  if (open) return Ok();
  std::shared_ptr<const store::TlsCredentials> tls;  // shared with others' connections
  if (with_tls) {
    ASSIGN_OR_RETURN(tls, StoreTls());
  }
  RETURN_IF_ERROR(EnsureRuntime());
  ASSIGN_OR_RETURN(auto service, Service::Open(*runtime_, options, std::move(tls)));
  slot.Put(std::move(service));
  objects.SetOpen(true);
  return Ok();
}

template <typename Service, typename Table>
void Library::Close(ServiceSlot<Service>& slot, Table& objects) {
  open_cancelled_ = true;  // an initialize that waits ends now
  MutexLock lock(mutex_);
  open_cancelled_ = false;
  slot.Close([&] {
    // NotFound: its user was quicker
    for (auto handle : objects.All()) (void)objects.Remove(handle);
  });
  objects.SetOpen(false);
}

Status Library::OpenBm(const bm::InitOptions& options) {
  RETURN_IF_ERROR(bm::Check(options));
  return Open(bm_, pools_, options, !options.config.store_tls.enabled);
}

void Library::CloseBm() { Close(bm_, pools_); }

Status Library::OpenShm(const shm::InitOptions& options) {
  RETURN_IF_ERROR(shm::Check(options));
  return Open(shm_, objects_, options, true);
}

void Library::CloseShm() { Close(shm_, objects_); }

Result<Objects::Handle> Library::CreateObject(const shm::CreateOptions& options) {
  RETURN_IF_ERROR(shm::Check(options));
  return shm_.With([&](shm::Service& service) -> Result<Objects::Handle> {
    RETURN_IF_ERROR(shm::Check(options, service.options().world_size));
    return objects_.Add(options.id, [&](ReadGate&) { return service.CreateObject(options); });
  });
}

Result<std::uint32_t> Library::SupportedOps() {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(EnsureRuntime());
  return shm::SupportedOps(runtime_->transports());
}

Result<Pools::Handle> Library::CreatePool(const bm::CreateOptions& options) {
  RETURN_IF_ERROR(bm::Check(options));
  return bm_.With([&](bm::Service& service) {
    return pools_.Add(options.id,
                      [&](ReadGate& gate) { return service.CreatePool(options, gate); });
  });
}

Result<Handles<trans::TransferEngine>::Handle> Library::OpenEngine(
    const trans::EngineOptions& options) {
  RETURN_IF_ERROR(trans::Check(options));
  auto with_tls = options;
  if (with_tls.tls == nullptr) {
    ASSIGN_OR_RETURN(with_tls.tls, StoreTls());
  }
  {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(EnsureRuntime());
    if (!trans_.IsOpen()) trans_.Put(std::make_unique<TransService>(TransService{*runtime_}));
  }
  return trans_.With([&](TransService& service) -> Result<Handles<trans::TransferEngine>::Handle> {
    ASSIGN_OR_RETURN(auto engine, trans::TransferEngine::Open(service.runtime, blocks_, with_tls));
    return engines_.Add(std::move(engine));
  });
}

void Library::CloseTrans() {
  trans_.Close([&] {
    for (const auto& engine : engines_.RemoveAll()) engine->Close();
  });
  streams_.RemoveAll();  // what is queued finds no engine and ends
}

}  // namespace memfabric::capi
