// copy/engine.h: from (source, destination, size) to bytes moved.
//
// Checks every bound before the first byte moves, splits what crosses slots, and takes the path
// that each rank has: kernels for mapped ranks (memory/kernels.h; several threads when large), Put
// and Get on links for others. Global to global between two ranks that are both behind links goes
// through a buffer of this process, piece by piece.
//
// A copy returns when the bytes are in place and visible to their owner, after this thread's
// earlier copies: mapped copies end with a store fence when they used non-temporal stores; link
// copies end with a Flush.
//
// Threads: any, at once. No lock, no allocation and no system call for a mapped copy below
// kParallelBytes.

#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "copy/batch_parts.h"
#include "copy/direction.h"
#include "copy/reach.h"
#include "copy/resolver.h"

namespace memfabric::copy {

class LinkMover;
class Relay;
class ThreadTeam;
struct Touched;

// From this size on mapped copies and batches are split over the team: they then take several times
// what waking a helper does.
constexpr std::uint64_t kParallelBytes = 2 << 20;
// What a thread of the team takes at a time.
constexpr std::uint64_t kPartBytes = 1 << 20;

// A batch in the caller's own arrays: never copied per element.
struct BatchRequest {
  std::span<const std::uint64_t> sources;
  std::span<const std::uint64_t> destinations;
  std::span<const std::uint64_t> sizes_bytes;  // as long as the two before
};

class CopyEngine {
 public:
  // `team` may be null: then every copy is the calling thread's alone. `flush_timeout` bounds the
  // wait for links.
  CopyEngine(const Reach& reach, ThreadTeam* team, std::chrono::nanoseconds flush_timeout);

  // InvalidArgument: an address is null, the size is 0, a global side is no address of this pool or
  // leaves what its ranks have allocated, or a side is in the wrong zone. The message names the
  // argument, its value and the limit; nothing was copied. Disconnected / Reconnect: as
  // Reach::WhyNot; the destination may hold a part.
  Status Copy(const CopyRequest& request, Direction direction) const;
  // All elements are checked before the first byte moves; an error names the element. They take
  // effect in the order of the list: those that share memory move in that order, others in any,
  // several at once.
  Status CopyBatch(const BatchRequest& batch, Direction direction) const;
  // The checks alone, for copies that are queued.
  Status Check(const CopyRequest& request, Direction direction) const;
  Status CheckBatch(const BatchRequest& batch, Direction direction) const;

 private:
  struct BatchPlan;
  struct BatchWave;

  Status CopyResolved(const Side& source, const Side& destination, std::uint64_t size_bytes,
                      LinkMover& mover, Relay& relay) const;
  // Memory to memory; over the team when large. REQUIRES: obtained (Reach::Obtain).
  void CopyMapped(std::byte* destination, const std::byte* source, std::uint64_t size_bytes) const;

  // The checks of all elements, and what is to be known of them before they move. `elements` may be
  // null: nothing is to move.
  Status PlanBatch(const BatchRequest& batch, Direction direction, BatchPlan& plan,
                   std::vector<Touched>* elements) const;
  Status ResolveElement(const CopyRequest& element, Direction direction, Side& source,
                        Side& destination) const;
  Touched TouchedBy(const Side& source, const Side& destination, std::uint64_t size_bytes) const;
  template <typename Move>
  Status ForEachWave(const BatchPlan& plan, std::span<const Touched> elements,
                     const Move& move) const;
  Status ObtainBatch(std::span<const Touched> elements) const;
  Status CopyMappedWave(const BatchRequest& batch, Direction direction, const BatchPlan& plan,
                        const BatchWave& wave) const;
  // `size_bytes` of the batch from `begin` on, or to its end; on this thread.
  Status CopyMappedRange(const BatchRequest& batch, Direction direction, std::uint64_t stream_from,
                         BatchPlace begin, std::uint64_t size_bytes) const;

  const Reach& reach_;
  Resolver resolver_;
  ThreadTeam* team_;
  std::chrono::nanoseconds flush_timeout_;
};

}  // namespace memfabric::copy
