// copy/engine.h: from (source, destination, size) to bytes moved.
//
// Checks every bound before the first byte moves, splits what crosses slots, and takes the path that each rank has: kernels for
// mapped ranks (memory/kernels.h; several threads when large), Put and Get on links for others. Global to global between two
// ranks that are both behind links goes through a buffer of this process, piece by piece.
//
// A copy returns when the bytes are in place and visible to their owner, after this thread's earlier copies: mapped copies end
// with a store fence when they used non-temporal stores; link copies end with a Flush.
//
// Threads: any, at once. No lock, no allocation and no system call for a mapped copy below kParallelBytes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/clock.h"
#include "base/status.h"
#include "copy/direction.h"
#include "copy/reach.h"

namespace memfabric::copy {

class ThreadTeam;

struct Request {
  std::uint64_t source = 0;
  std::uint64_t destination = 0;
  std::uint64_t size_bytes = 0;
};

// A batch in the caller's own arrays: never copied per element.
struct BatchRequest {
  std::span<const std::uint64_t> sources;
  std::span<const std::uint64_t> destinations;
  std::span<const std::uint64_t> sizes_bytes;  // the three are equally long, not empty
};

class Engine {
 public:
  // `team` may be null: then every copy is the calling thread's alone. `flush_timeout` bounds the wait for links.
  Engine(const Reach& reach, ThreadTeam* team, std::chrono::nanoseconds flush_timeout);

  // InvalidArgument: null, size 0, a global side that is no address of this pool or leaves what its ranks have allocated, a
  // side in the wrong zone; the message names the argument, its value and the limit, and nothing was copied.
  // Disconnected / Reconnect: as Reach::WhyNot; the destination may hold a part.
  Status Copy(const Request& request, Direction direction) const;
  // All elements are checked before the first byte moves; an error names the element.
  Status CopyBatch(const BatchRequest& batch, Direction direction) const;
  // The checks alone, for copies that are queued.
  Status Check(const Request& request, Direction direction) const;
  Status CheckBatch(const BatchRequest& batch, Direction direction) const;

 private:
  const Reach& reach_;
  ThreadTeam* team_;
  std::chrono::nanoseconds flush_timeout_;
};

}  // namespace memfabric::copy
