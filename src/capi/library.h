// capi/library.h: the state behind the C ABI, one object a process.
//
// Runtime and services are made when they are first needed and ended by smem_uninit, in the right
// order. Calls hold their service open while they run; closing it makes those that wait end early,
// and waits for them (service_slot.h).
//
// In a forked child there is a new Library: it knows nothing of the parent's. docs/threads.md says
// what that means.
//
// Threads: any.

#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"
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

  ServiceSlot<bm::Service>& bm() { return bm_; }
  // Calls call(pool), which may wait, with the pool and the service held open.
  template <typename Call>
  auto WithPool(Pools::Handle handle, Call&& call) -> decltype(call(std::declval<bm::Pool&>())) {
    RETURN_IF_ERROR(pools_.CheckNotNull(handle));
    return bm_.With([&](bm::Service&) -> decltype(call(std::declval<bm::Pool&>())) {
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

  // Where engines come from, once one was asked for.
  struct TransService {
    Runtime& runtime;
  };

  template <typename Service, typename Table, typename Options>
  Status Open(ServiceSlot<Service>& slot, Table& objects, const Options& options, bool with_tls);
  template <typename Service, typename Table>
  void Close(ServiceSlot<Service>& slot, Table& objects);

  // One function takes tls_mutex_, and another gives it up.
  static void BeforeFork() NO_THREAD_SAFETY_ANALYSIS;
  static void AfterForkInParent() NO_THREAD_SAFETY_ANALYSIS;
  static void AfterForkInChild() NO_THREAD_SAFETY_ANALYSIS;

  void TakeTls(Library& parent);
  Status EnsureRuntime() REQUIRES(mutex_);

  Mutex tls_mutex_;  // held across a fork, so that the child finds the settings whole
  store::TlsSettings tls_ GUARDED_BY(tls_mutex_);

  // serialises opening and closing of Big Memory and Shared Memory; never taken by calls that only
  // use them
  Mutex mutex_;
  std::unique_ptr<Runtime> runtime_ GUARDED_BY(mutex_);
  std::atomic<bool> has_runtime_{false};
  // by url
  std::map<std::string, std::unique_ptr<store::EmbeddedServer>> stores_ GUARDED_BY(mutex_);
  bool forked_from_initialized_ = false;  // changes before anybody has the library
  std::atomic<bool> open_cancelled_{false};

  ServiceSlot<bm::Service> bm_{"Big Memory", "bm.initialize"};
  Pools pools_{"pool", "Big Memory", "bm.initialize"};

  ServiceSlot<shm::Service> shm_{"Shared Memory", "shm.initialize"};
  Objects objects_{"object", "Shared Memory", "shm.initialize"};

  ServiceSlot<TransService> trans_{"Transfer", "smem_trans_create"};
  std::atomic<std::uint64_t> handles_{0};
  SharedBlocks blocks_;  // outlive the engines, and the library's being closed: users hold them
  Handles<trans::TransferEngine> engines_{"engine", handles_, &has_runtime_};
  Handles<trans::TransferStream> streams_{"stream", handles_};
  Handles<trans::RpcPort> ports_{"port", handles_};
};

}  // namespace memfabric::capi
