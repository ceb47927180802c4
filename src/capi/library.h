// capi/library.h: the one object that the C ABI stands on. A C interface is global by nature;
// everything global is in here.
//
// Runtime and services are made when they are first needed and ended by smem_uninit, in the right
// order. Calls hold the library open while they run (Use); Close makes those that wait end early
// and then waits for them.
//
// In a forked child there is a new Library: it knows nothing of the parent's. docs/threads.md says
// what that means.
//
// Threads: any.

#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "base/status.h"
#include "base/wait.h"
#include "bm/service.h"
#include "capi/handles.h"
#include "capi/places.h"
#include "capi/service_slot.h"
#include "memory/shared_block.h"
#include "runtime/runtime.h"
#include "shm/service.h"
#include "store/embedded/server.h"
#include "store/tls/settings.h"
#include "trans/engine.h"
#include "trans/rpc_port.h"
#include "trans/stream.h"

namespace memfabric::capi {

using Pools = Places<bm::Pool, bm::kPools>;
using Objects = Places<shm::Object, shm::kObjects>;

class Library {
 public:
  static Library& Instance();

  Status Initialize();
  void Uninitialize();

  // The store's TLS: what smem_set_conf_store_tls and smem_set_config_store_tls_key say, for what
  // is opened later.
  Status SetStoreTls(bool enable, std::string_view info);
  Status SetStoreTlsKey(std::string_view pem, std::string_view password);
  Result<std::shared_ptr<const store::TlsCredentials>> StoreTls();

  Status CreateStore(const std::string& url);
  void DestroyStore(const std::string& url);

  Status OpenBm(const bm::InitOptions& options);
  void CloseBm();
  Rank BmRank();

  // Calls use(service), which may wait, with the service held open.
  template <typename Call>
  auto WithBm(Call&& call) -> decltype(call(std::declval<bm::Service&>())) {
    std::shared_lock use(bm_use_);
    if (bm_ == nullptr || bm_closing_)
      return NotInitialized("Big Memory is not initialized: call bm.initialize first");
    return Cancellable([&] { return call(*bm_); });
  }
  // Calls call(pool), which may wait, with the pool and the service held open.
  template <typename Call>
  auto WithPool(Pools::Handle handle, Call&& call) -> decltype(call(std::declval<bm::Pool&>())) {
    RETURN_IF_ERROR(pools_.CheckNotNull(handle));
    return WithBm([&](bm::Service&) -> decltype(call(std::declval<bm::Pool&>())) {
      ASSIGN_OR_RETURN(auto pool, pools_.Find(handle));
      return call(*pool);
    });
  }

  Result<Pools::Handle> CreatePool(const bm::CreateOptions& options);
  Pools& pools() { return pools_; }

  Result<Handles<trans::TransferEngine>::Handle> OpenEngine(const trans::EngineOptions& options);
  void CloseTrans();
  Handles<trans::TransferEngine>& engines() { return engines_; }
  Handles<trans::TransferStream>& streams() { return streams_; }
  Handles<trans::RpcPort>& ports() { return ports_; }
  SharedBlocks& blocks() { return blocks_; }

  Status OpenShm(const shm::InitOptions& options);
  void CloseShm();
  Result<Objects::Handle> CreateObject(const shm::CreateOptions& options);
  Objects& objects() { return objects_; }
  // Bits of shm::DataOp that this machine has.
  Result<std::uint32_t> SupportedOps();

 private:
  Library() = default;

  template <typename Call>
  auto Cancellable(Call&& call) -> decltype(call()) {
    CancelScope scope(bm_closing_);
    auto result = call();
    if (bm_closing_ && IsInterrupted(StatusOf(result)))
      return NotInitialized("Big Memory was uninitialized while the call ran");
    return result;
  }
  static const Status& StatusOf(const Status& status) { return status; }
  template <typename T>
  static const Status& StatusOf(const Result<T>& result) {
    return result.status();
  }

  static void BeforeFork();
  static void AfterForkInParent();
  static void AfterForkInChild();

  Status RuntimeLocked();  // REQUIRES: mutex_

  std::mutex tls_mutex_;  // guards the next; held across a fork, so that the child finds it whole
  store::TlsSettings tls_;

  std::mutex mutex_;  // serialises opening and closing; never taken by calls that only use
  std::unique_ptr<Runtime> runtime_;
  std::atomic<bool> has_runtime_{false};
  std::map<std::string, std::unique_ptr<store::EmbeddedServer>> stores_;  // by url
  bool forked_from_initialized_ = false;
  std::atomic<bool> open_cancelled_{false};

  std::shared_mutex bm_use_;  // shared: bm_ is in use. Exclusive: it is made or ended
  std::atomic<bool> bm_closing_{false};
  std::unique_ptr<bm::Service> bm_;
  Pools pools_{"pool", "Big Memory", "bm.initialize"};

  ServiceSlot<shm::Service> shm_{"Shared Memory", "shm.initialize"};
  Objects objects_{"object", "Shared Memory", "shm.initialize"};

  void EndTrans();

  std::shared_mutex trans_use_;  // shared: an engine is being opened. Taken before mutex_
  std::atomic<bool> trans_closing_{false};
  std::atomic<std::uint64_t> handles_{0};
  SharedBlocks blocks_;  // outlive the engines, and the library's being closed: users hold them
  Handles<trans::TransferEngine> engines_{"engine", handles_, &has_runtime_};
  Handles<trans::TransferStream> streams_{"stream", handles_};
  Handles<trans::RpcPort> ports_{"port", handles_};
};

}  // namespace memfabric::capi
