#include "capi/library.h"

#include <pthread.h>

#include <cstdlib>

#include "base/fd.h"
#include "base/log.h"
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
  if (Library* library = instance.load()) library->tls_mutex_.lock();
}

void Library::AfterForkInParent() {
  if (Library* library = instance.load()) library->tls_mutex_.unlock();
}

void Library::AfterForkInChild() {
  CloseOwnedFdsAfterFork();
  log::ResetAfterFork();
  // The parent's threads, locks and sockets aren't ours. What it had built is left where it is,
  // never touched and never freed; only the TLS settings are taken over when a library is made
  // here: a child must not speak in the clear unknowingly.
  Library* parent = instance.exchange(nullptr);
  if (parent == nullptr) return;
  parent->tls_mutex_.unlock();
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
  if (const Library* parent = inherited.load()) fresh->tls_ = parent->tls_;
  if (instance.compare_exchange_strong(library, fresh)) return *fresh;
  delete fresh;
  return *library;
}

Status Library::RuntimeLocked() {
  if (runtime_ != nullptr) return Ok();
  if (forked_from_initialized_)
    return Unsupported(
        "this process was forked from one that had initialized MemFabric, and gRPC's threads did "
        "not come along: "
        "fork before initialize, or start processes with 'spawn' or 'forkserver'");
  // before the next but one line: what is registered last runs first at exit
  store::PrepareOpenSsl();
  ASSIGN_OR_RETURN(runtime_, Runtime::Create());
  has_runtime_ = true;
  // A program that ends without smem_uninit must not have our threads run into the libraries'
  // static destructors.
  if (!was_initialized.exchange(true)) std::atexit(AtExit);
  return Ok();
}

Status Library::Initialize() {
  std::lock_guard lock(mutex_);
  return RuntimeLocked();
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
  std::unique_lock trans(trans_use_);
  EndTrans();  // opened meanwhile
  std::lock_guard lock(mutex_);
  std::unique_lock use(bm_use_);
  if (bm_ != nullptr || shm_.IsOpen()) return;  // initialized anew meanwhile
  stores_.clear();
  has_runtime_ = false;
  runtime_.reset();
}

Status Library::SetStoreTls(bool enable, std::string_view info) {
  std::lock_guard lock(tls_mutex_);
  if (enable) return tls_.Enable(info);
  tls_.Disable();
  return Ok();
}

Status Library::SetStoreTlsKey(std::string_view pem, std::string_view password) {
  std::lock_guard lock(tls_mutex_);
  return tls_.SetKey(pem, password);
}

Result<std::shared_ptr<const store::TlsCredentials>> Library::StoreTls() {
  std::lock_guard lock(tls_mutex_);
  return tls_.Credentials();
}

Status Library::CreateStore(const std::string& text) {
  ASSIGN_OR_RETURN(auto url, ParseStoreUrl(text));
  if (url.scheme != StoreUrl::Scheme::kTcp)
    return InvalidArgument(
        "store url '{}' names a cluster that somebody else runs; a store can be started at "
        "tcp://host:port",
        text);
  std::lock_guard lock(mutex_);
  if (stores_.contains(url.ToString())) return Ok();
  {
    std::shared_lock use(bm_use_);
    if (bm_ != nullptr && bm_->Serves(url)) return Ok();
  }
  if (shm_.Serves(url)) return Ok();
  RETURN_IF_ERROR(RuntimeLocked());
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
  std::lock_guard lock(mutex_);
  stores_.erase(url->ToString());
}

Status Library::OpenBm(const bm::InitOptions& options) {
  RETURN_IF_ERROR(bm::Check(options));
  std::lock_guard lock(mutex_);
  CancelScope scope(open_cancelled_);
  {
    std::shared_lock use(bm_use_);
    if (bm_ != nullptr) {
      if (bm_->options() == options) return Ok();
      return RepeatCall(
          "Big Memory is initialized already, with other arguments (store_url {}, world_size {}): "
          "uninitialize it first",
          bm_->options().store_url, bm_->options().world_size);
    }
  }
  std::shared_ptr<const store::TlsCredentials> tls;  // shared with others' connections
  if (!options.config.store_tls.enabled) {
    ASSIGN_OR_RETURN(tls, StoreTls());
  }
  RETURN_IF_ERROR(RuntimeLocked());
  ASSIGN_OR_RETURN(auto service, bm::Service::Open(*runtime_, options, std::move(tls)));
  std::unique_lock use(bm_use_);
  bm_ = std::move(service);
  pools_.SetOpen(true);
  return Ok();
}

void Library::CloseBm() {
  open_cancelled_ = true;  // an initialize that waits ends now
  std::lock_guard lock(mutex_);
  open_cancelled_ = false;
  {
    std::shared_lock use(bm_use_);
    if (bm_ == nullptr) return;
  }
  bm_closing_ = true;  // calls that wait end now
  for (auto handle : pools_.All()) {
    Status removed = pools_.Remove(handle);
    if (!removed.ok() && !IsNotFound(removed))
      LOG(kError, "a pool did not end well: {}", removed.message());
  }
  std::unique_lock use(bm_use_);
  for (auto handle : pools_.All()) (void)pools_.Remove(handle);  // created while we waited
  bm_.reset();
  pools_.SetOpen(false);
  bm_closing_ = false;
}

Status Library::OpenShm(const shm::InitOptions& options) {
  RETURN_IF_ERROR(shm::Check(options));
  std::lock_guard lock(mutex_);
  CancelScope scope(open_cancelled_);
  ASSIGN_OR_RETURN(bool open, shm_.IsOpenAs(options));
  if (open) return Ok();
  RETURN_IF_ERROR(RuntimeLocked());
  ASSIGN_OR_RETURN(auto tls, StoreTls());
  ASSIGN_OR_RETURN(auto service, shm::Service::Open(*runtime_, options, std::move(tls)));
  shm_.Put(std::move(service));
  objects_.SetOpen(true);
  return Ok();
}

void Library::CloseShm() {
  open_cancelled_ = true;
  std::lock_guard lock(mutex_);
  open_cancelled_ = false;
  shm_.Close([&] {
    // NotFound: its user was quicker
    for (auto handle : objects_.All()) (void)objects_.Remove(handle);
  });
  objects_.SetOpen(shm_.IsOpen());
}

Result<Objects::Handle> Library::CreateObject(const shm::CreateOptions& options) {
  RETURN_IF_ERROR(shm::Check(options));
  return shm_.With([&](shm::Service& service) -> Result<Objects::Handle> {
    RETURN_IF_ERROR(shm::Check(options, service.options().world_size));
    return objects_.Add(options.id, [&](ReadGate&) { return service.CreateObject(options); });
  });
}

Result<std::uint32_t> Library::SupportedOps() {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(RuntimeLocked());
  return shm::SupportedOps(runtime_->transports());
}

Rank Library::BmRank() {
  std::shared_lock use(bm_use_);
  return bm_ == nullptr ? kNoRank : bm_->rank();
}

Result<Pools::Handle> Library::CreatePool(const bm::CreateOptions& options) {
  RETURN_IF_ERROR(bm::Check(options));
  return WithBm([&](bm::Service& service) {
    return pools_.Add(options.id,
                      [&](ReadGate& gate) { return service.CreatePool(options, gate); });
  });
}

Result<Handles<trans::TransferEngine>::Handle> Library::OpenEngine(
    const trans::EngineOptions& options) {
  RETURN_IF_ERROR(trans::Check(options));
  std::shared_lock use(trans_use_);
  CancelScope scope(trans_closing_);
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(RuntimeLocked());
  }
  auto with_tls = options;
  if (with_tls.tls == nullptr) {
    ASSIGN_OR_RETURN(with_tls.tls, StoreTls());
  }
  auto engine = trans::TransferEngine::Open(*runtime_, blocks_, with_tls);
  if (trans_closing_ && IsInterrupted(engine.status()))
    return NotInitialized("the library was uninitialized while engine '{}' was opened",
                          options.unique_id);
  if (!engine.ok()) return std::move(engine).status();
  return engines_.Add(*std::move(engine));
}

void Library::CloseTrans() {
  trans_closing_ = true;  // engines that are being opened give up
  EndTrans();
  std::unique_lock use(trans_use_);
  EndTrans();
  trans_closing_ = false;
}

void Library::EndTrans() {
  for (const auto& engine : engines_.RemoveAll()) engine->Close();
  streams_.RemoveAll();  // what is queued finds no engine and ends
}

}  // namespace memfabric::capi
