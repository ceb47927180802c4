// trans/engine.h: a TransferEngine: memory that this process's user registers, and moves between it
// and that of peers.
//
// Life: Open finds the engine's place (a name in a store, its own or a shared one) and shows its
// table of registrations to peers; Close takes all that back. Between them the engine may be given
// up by the others (it was stopped past its lease); it then comes back by itself as a new epoch.
//
// Owner: the library's table of engines; shared with calls and with queued transfers. Threads: any.
// Calls run inside gate_; Close ends their waits and waits for them.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "base/read_gate.h"
#include "base/status.h"
#include "memory/registered_table.h"
#include "memory/shared_block.h"
#include "runtime/job.h"
#include "runtime/runtime.h"
#include "runtime/user_callback.h"
#include "trans/config.h"
#include "trans/peers.h"

namespace memfabric::trans {

enum class TransferDirection { kRead, kWrite };

// Lists of one length: local[i] and remote[i] are addresses of this process and of the peer,
// sizes[i] bytes.
struct Batch {
  std::span<const std::uint64_t> local;
  std::span<const std::uint64_t> remote;
  std::span<const std::uint64_t> sizes;
};
// InvalidArgument names the entry: null, size 0, or beyond the address space.
Status Check(const Batch& batch);

class TransferEngine final : public JobObserver {
 public:
  // `runtime` and `blocks` outlive it. AlreadyExists: a live engine has the name. Other errors as
  // smem_trans_create.
  static Result<std::shared_ptr<TransferEngine>> Open(Runtime& runtime, SharedBlocks& blocks,
                                                      const EngineOptions& options);
  ~TransferEngine() override;
  // Idempotent. Later calls fail with NotFound. When it returns no peer touches this process's
  // memory any more.
  void Close();

  const std::string& name() const { return place_.name; }
  std::uint16_t rpc_port();  // 0: none is free

  Status Register(std::span<const std::uint64_t> addresses, std::span<const std::uint64_t> sizes);
  Status Deregister(std::uint64_t address);
  // Memory that peers of this host map. Free deregisters what is registered at its begin.
  Result<std::byte*> Allocate(std::uint64_t size_bytes);
  Status Free(std::uint64_t address);

  // Returns once the bytes are in place. Disconnected: some may be, others not; so with
  // InvalidArgument when the peer takes a registration away meanwhile. REQUIRES: Check(batch) and
  // CheckName(peer) are Ok.
  Status Transfer(TransferDirection direction, const std::string& peer, const Batch& batch);
  // How bytes get there: "cma", "mapped" (with cma, if all of [address, +1) lies in memory of
  // alloc), "tcp" …
  Result<std::string> Path(const std::string& peer);

  Status SetPeerDown(UserCallback<std::string>::Function function);

  // JobObserver
  void OnGivenUp(const Status& why) override;
  Status OnReturned() override { return Ok(); }
  void OnReplaced(const Status& why) override;

  TransferEngine(Runtime& runtime, SharedBlocks& blocks, const EngineOptions& options,
                 EnginePlace place);

 private:
  Status Start();
  Status Claim(Job& job, Deadline deadline);
  Result<RoutePtr> Find(const std::string& peer);
  Status MoveOver(transport::Link& link, TransferDirection direction, const Batch& batch);
  Status MoveTogether(transport::Link& link, TransferDirection direction, const Batch& batch,
                      std::uint64_t total_bytes);
  Status MoveWithin(TransferDirection direction, const Batch& batch);
  // Runs a call that waits; ends it when the engine is destroyed meanwhile.
  template <typename Call>
  Status Guarded(Call&& call);
  Status Destroyed() const { return NotFound("engine '{}' has been destroyed", place_.name); }

  Runtime& runtime_;
  SharedBlocks& blocks_;
  const EngineOptions options_;
  EnginePlace place_;
  const std::chrono::seconds peer_timeout_;
  std::mutex port_mutex_;              // guards rpc_port_
  std::shared_ptr<RpcPort> rpc_port_;  // shared with who took it
  Rank member_ = kNoRank;

  std::atomic<bool> closing_{false};
  ReadGate gate_;
  UserCallback<std::string> peer_down_;
  std::unique_ptr<RegisteredTable> table_;
  // ends after the job, which calls back; its directories end before (Shut)
  std::unique_ptr<EnginePeers> peers_;
  std::unique_ptr<Job> job_;
  std::mutex close_mutex_;  // one Close at a time
};

}  // namespace memfabric::trans
