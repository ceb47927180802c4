// transport/cma/cma_link.h: a peer on this host whose registered memory is moved by
// process_vm_readv/writev, and, where it lies in a shared block (memory/shared_block.h), mapped on
// first use and copied by plain instructions.
//
// Owned by its port and by an engine, whoever lets go last. Threads: any; OnData, OnConfirmed,
// MarkDown and Grow on the reactor's. One mutex, for blocks and the end; moving bytes takes it for
// a look-up in blocks only.

#pragma once

#include <atomic>
#include <condition_variable>
#include <limits>
#include <map>
#include <memory>
#include <mutex>

#include "base/mapping.h"
#include "memory/registered_table.h"
#include "memory/registered_view.h"
#include "transport/cma/foreign_process.h"
#include "transport/meeting/peer_backend.h"

namespace memfabric::transport {

class CmaLink final : public PeerLink, public RegisteredAccess {
 public:
  // `view` is of the peer's table, `in_flight` the peer's page for ours. `on_end`: called once, by
  // MarkDown.
  CmaLink(const PeerContribution& contribution, pid_t pid, std::unique_ptr<RegisteredView> view,
          Mapping in_flight, RegisteredTable& own, std::shared_ptr<MessageSocket> socket,
          std::function<void()> on_end);

  // Whether the kernel lets us at that process's memory; Unsupported says why not. Shared blocks
  // can be reached either way.
  const Status& attachable() const { return attachable_; }

  MemberLife peer() const override { return peer_; }
  std::string_view path() const override { return "cma"; }
  ZoneAccess* zones() override { return nullptr; }
  RegisteredAccess* registered() override { return this; }
  Signalling* signals() override { return nullptr; }
  Status Flush(Bound) override {
    return down_.load(std::memory_order_acquire) ? DownStatus() : Ok();
  }

  bool reaches_all() const override { return attachable_.ok(); }
  bool parallel() const override { return true; }
  std::size_t max_pieces() const override { return std::numeric_limits<std::size_t>::max(); }
  Status Put(std::span<const Piece> pieces) override { return Move(pieces, true); }
  Status Get(std::span<const Piece> pieces) override { return Move(pieces, false); }

  void MarkDown(const Status& why) override;
  Status Grow(const PeerContribution& contribution) override;
  Status OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) override;
  void OnConfirmed() override;

 private:
  // A block of the peer's. The mapping is shared with copies that use it while it is dropped.
  struct Block {
    std::shared_ptr<const Mapping> mapping;  // null: asked for, or not to be had
    bool answered = false;
  };
  // One round of a move: pieces whose ranges were found at one moment.
  struct Round;

  Status Move(std::span<const Piece> pieces, bool put);
  Status MoveRound(Round& round, bool put);
  Status Find(Round& round) const;
  Status AwaitConfirmed();
  Status DownStatus() const;
  std::shared_ptr<const Mapping> BlockOf(std::uint64_t id);
  Status OnBlock(std::uint64_t id, std::span<UniqueFd> files);

  const MemberLife peer_;
  const ForeignProcess process_;
  const std::unique_ptr<RegisteredView> view_;
  RegisteredTable& own_;
  const std::shared_ptr<MessageSocket> socket_;  // shared with the port's connection
  const std::function<void()> on_end_;
  RegisteredTable::PeerPtr admitted_;  // in our table
  Status attachable_;

  std::atomic<bool> confirmed_{false};
  std::atomic<bool> down_{false};
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  Status why_;
  std::map<std::uint64_t, Block> blocks_;  // by id
};

}  // namespace memfabric::transport
