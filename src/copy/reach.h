// copy/reach.h: which ranks of a pool this process reaches now, how far, and by which link. What
// copies look up.
//
// The pool writes it as links come and go; copies read it without a lock: one load a side on the
// mapped path.
//
// Threads: reads from any thread. Writes from any thread, serialised inside.
// Memory order: Set* publishes with release after the slot is mapped; a reader that sees bytes > 0
// (acquire) sees the mapping. A slot that is closed stays mapped, so a copy that read the bytes
// just before is harmless. Before a slot is mapped anew, the pool closes it and waits for all
// readers through its ReadGate.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "address/pool_layout.h"
#include "base/mutex.h"
#include "base/status.h"
#include "copy/counters.h"
#include "transport/transport.h"

namespace memfabric::copy {

class Reach {
 public:
  // `local_base` is where the window lies in this process; equal to layout.base unless the pool's
  // addresses are numbers only.
  Reach(const PoolLayout& layout, std::byte* local_base);

  const PoolLayout& layout() const { return layout_; }
  std::byte* local_base() const { return local_base_; }

  // Bytes of the slot that loads and stores may touch now; 0 when the rank isn't reachable that
  // way.
  std::uint64_t MappedBytes(Zone zone, Rank rank) const {
    return mapped_bytes_[Index(zone) * layout_.world_size + rank].load(std::memory_order_acquire);
  }

  // Whether a range of a mapped slot has memory already; if not, Obtain comes before the first
  // touch. REQUIRES: MappedBytes covers it; inside the gate.
  bool Backed(Zone zone, Rank rank, std::uint64_t offset, std::uint64_t size_bytes) const {
    const BackedChunks* chunks =
        chunks_[Index(zone) * layout_.world_size + rank].load(std::memory_order_relaxed);
    return chunks == nullptr || chunks->Covers(offset, size_bytes);
  }
  // Asks the slot's owner to take memory for a range, and waits until it has. OutOfMemory: it has
  // none. REQUIRES: as Backed.
  Status Obtain(Zone zone, Rank rank, std::uint64_t offset, std::uint64_t size_bytes) const {
    BackedChunks* chunks =
        chunks_[Index(zone) * layout_.world_size + rank].load(std::memory_order_relaxed);
    return chunks == nullptr ? Ok() : chunks->Obtain(offset, size_bytes);
  }

  // This rank's own slots, or a load/store peer's, with what its link says is to be obtained first.
  void SetMapped(Rank rank, const transport::ZoneBytes& bytes,
                 const transport::ZoneChunks& chunks = {});
  // A peer that takes Put and Get. REQUIRES: link->zones() != nullptr.
  void SetLink(Rank rank, std::shared_ptr<transport::Link> link);
  // Nothing reaches the rank any more; `why` is what copies to it return from now on (Disconnected
  // or Reconnect), with "rank 3: " before it. Ok: it has left.
  void Close(Rank rank, Status why);
  void CloseAll(const Status& why);

  Counters& counters() const { return counters_; }

  // Keeps a buffer until the links held here are gone: a link that did not end in time may still
  // use it.
  void Keep(std::unique_ptr<std::byte[]> buffer) const;

  // The link of a rank that takes Put and Get; null for others.
  std::shared_ptr<transport::Link> LinkOf(Rank rank) const;
  // Why the rank can't be reached, naming it; Ok when it can. Slow path, for the message.
  Status WhyNot(Rank rank) const;

 private:
  void StoreMapped(Rank rank, const transport::ZoneBytes& bytes) REQUIRES(mutex_);

  PoolLayout layout_;
  std::byte* local_base_;
  std::vector<std::atomic<std::uint64_t>> mapped_bytes_;  // [zone][rank]
  std::vector<std::atomic<BackedChunks*>> chunks_;        // [zone][rank]; stored before the bytes
  mutable Counters counters_;
  mutable Mutex mutex_;
  // goes after links_
  mutable std::vector<std::unique_ptr<std::byte[]>> kept_ GUARDED_BY(mutex_);
  // shared: a copy in flight keeps its link
  std::vector<std::shared_ptr<transport::Link>> links_ GUARDED_BY(mutex_);
  // what chunks_ points to; shared with links
  std::vector<std::shared_ptr<BackedChunks>> kept_chunks_ GUARDED_BY(mutex_);
  std::vector<Status> why_not_ GUARDED_BY(mutex_);  // Ok: reachable
};

}  // namespace memfabric::copy
