// memory/registered_table.h: the memory that this process's user has registered, as peers may reach
// it: those of this host by mapping the table (registered_layout.h, registered_view.h), others
// through transports that serve their requests (Acquire).
//
// Owner: an engine; ports that show it to peers end before it does. Threads: any. One mutex, held
// for short; one thread at a time waits for peers' transfers to end (draining_).

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mapping.h"
#include "base/mutex.h"
#include "base/status.h"
#include "memory/registered_layout.h"
#include "memory/registered_memory.h"
#include "memory/shared_block.h"

namespace memfabric {

class RegisteredTable final : public RegisteredMemory {
 public:
  // `blocks` outlives it; may be null. OutOfMemory: a limit of the process refuses.
  static Result<std::unique_ptr<RegisteredTable>> Create(const SharedBlocks* blocks);

  // All of them or none. A range that is registered already, or given twice, is fine.
  // InvalidArgument: null, size 0, beyond the address space. AlreadyExists: one overlaps another
  // registration. InUse: more than kMaxRanges. OutOfMemory: memory of a shared block is taken now,
  // and there isn't so much.
  Status Register(std::span<const std::uint64_t> addresses, std::span<const std::uint64_t> sizes);
  // Returns once no transfer touches that memory any more, and none will. NotFound: no registration
  // begins there. DeadlineExceeded, Interrupted: no new transfer begins, but one is still in flight
  // (the message says whose); call again.
  Status Deregister(std::uint64_t address, Deadline deadline);
  // All of them.
  Status Clear(Deadline deadline);
  std::uint64_t size() const;

  // RegisteredMemory
  Status Acquire(std::uint64_t address, std::uint64_t size_bytes) override;
  void Release(std::uint64_t address, std::uint64_t size_bytes) override;

  // For peers of this host.
  int file() const { return file_.get(); }
  // The block, while a registration lies in it; null otherwise.
  SharedBlockPtr Block(std::uint64_t id) const;
  struct Peer {
    std::string name;   // for messages
    Mapping in_flight;  // its page
    UniqueFd process;   // pidfd; none: its end shows by Forget
    // forgotten; still waited for while it lives and counts itself in
    bool gone = false;
    // no registration lies in the block any more
    std::function<void(std::uint64_t block)> on_block_gone;
    std::uint64_t Inside(std::uint64_t parity) const;
  };
  using PeerPtr = std::shared_ptr<Peer>;  // shared with whoever waits for it
  void Admit(const PeerPtr& peer);
  void Forget(const PeerPtr& peer);

  RegisteredTable(const SharedBlocks* blocks, UniqueFd file, Mapping mapping);

 private:
  struct NewRange {
    std::uint64_t begin;
    std::uint64_t end;
  };
  registered::Header& header() const {
    return *reinterpret_cast<registered::Header*>(mapping_.data());
  }
  registered::Range* ranges() const {
    return reinterpret_cast<registered::Range*>(mapping_.data() + registered::kRangesOffset);
  }
  // Peers of this host touch shared blocks by themselves, and memory is charged to whoever touches
  // it first.
  Status BackBlocks(const std::vector<NewRange>& ranges) const;
  // The first range that begins at `address` or above.
  std::uint64_t LowerBound(std::uint64_t address) const REQUIRES(mutex_);
  // Takes out what is registered already.
  Status CheckNew(std::vector<NewRange>& ranges) const REQUIRES(mutex_);
  void Insert(const std::vector<NewRange>& ranges) REQUIRES(mutex_);
  void Compact() REQUIRES(mutex_);  // takes out the empty ranges
  void Empty(std::uint64_t index) REQUIRES(mutex_);
  void BeginChange() REQUIRES(mutex_);
  void EndChange() REQUIRES(mutex_);

  Status Drain(Deadline deadline);
  Status RaiseGeneration(Deadline deadline);  // REQUIRES: draining_ is this thread's
  Status AwaitPeers(std::uint64_t parity, Deadline deadline);
  void TellBlockGone(std::uint64_t block) REQUIRES(mutex_);

  const SharedBlocks* const blocks_;
  const UniqueFd file_;
  const Mapping mapping_;

  mutable Mutex mutex_;  // held for changes of the table's ranges, too
  CondVar released_;
  std::uint64_t live_ GUARDED_BY(mutex_) = 0;
  // by id: and how many ranges lie in it
  std::map<std::uint64_t, std::pair<SharedBlockPtr, std::uint64_t>> used_blocks_ GUARDED_BY(mutex_);
  std::vector<NewRange> uses_ GUARDED_BY(mutex_);  // acquired
  // deregistered, begin to end, but transfers may be in flight
  std::map<std::uint64_t, std::uint64_t> leaving_ GUARDED_BY(mutex_);
  std::vector<PeerPtr> peers_ GUARDED_BY(mutex_);
  // somebody raises the generation, and others wait for released_
  bool draining_ GUARDED_BY(mutex_) = false;
};

}  // namespace memfabric
