// memory/segment.h: a piece of memory that this process contributes to a pool.
//
// A segment is a memfd as large as the rank may ever contribute, sealed against shrinking and
// growing, so that no peer can make another crash by truncating it. It is sparse: pages come with
// the first touch, and only `allocated_bytes` of it may be used. The owner and its peers map it at
// its slot in the window.
//
// Owner: the pool. Threads: allocated_bytes() and Back from any; everything else from one at a
// time.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "address/global_address.h"
#include "address/window.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "base/status.h"
#include "memory/backing.h"
#include "memory/memory_room.h"

namespace memfabric {

struct SegmentOptions {
  Zone zone = Zone::kHost;
  std::uint64_t max_bytes = 0;  // multiple of 2 MiB, > 0
  // multiple of 2 MiB, <= max_bytes; 0: nothing yet, but Grow may come
  std::uint64_t allocated_bytes = 0;
  std::optional<unsigned> numa_node;  // preferred, never required; none: the kernel's choice
  // back the memory in MapInto and Grow, with several threads, not at the first touch
  bool fault_in = false;
  // back by (a duplicate of) this file instead of a new memfd; its size bounds allocated_bytes,
  // ever
  int user_fd = -1;
};

class Segment {
 public:
  // Makes the memory. Reserved huge pages are used when there are enough for max_bytes, so that
  // Grow can't run out of them (memfd hugetlb); else, or when nothing is allocated yet, transparent
  // ones are asked for.
  // A user's file is sealed against shrinking where it can be; one that can't (made without
  // MFD_ALLOW_SEALING, or by shm_open) is taken as it is, with a warning: truncating it would end
  // every process that touches the lost part. InvalidArgument: a size, node or fd that can't work,
  // with the value and the limit. OutOfMemory: the machine or a limit of the process (RLIMIT_FSIZE,
  // RLIMIT_NOFILE) refuses, and which.
  static Result<std::unique_ptr<Segment>> Create(const SegmentOptions& options);

  Zone zone() const { return options_.zone; }
  int fd() const { return fd_.get(); }
  std::uint64_t max_bytes() const { return options_.max_bytes; }
  std::uint64_t allocated_bytes() const { return allocated_bytes_.load(std::memory_order_acquire); }
  bool huge_pages() const { return huge_pages_; }  // hugetlb; transparent ones don't count

  // Whether all pages are there, or cost this process no memory.
  bool backed() const { return huge_pages_ || options_.fault_in || !takes_memory_late_; }
  // Takes pages for a range before a peer touches it: they are charged to whoever takes them.
  // OutOfMemory when this process or its machine has none, and then nobody is killed. REQUIRES: the
  // range is allocated.
  Status Back(std::uint64_t offset, std::uint64_t size_bytes) const;

  // Maps what is allocated at `offset` (a multiple of 2 MiB) of the window with the NUMA policy,
  // and faults it in when asked at creation. OutOfMemory when that would go beyond what the machine
  // or a cgroup has left. On failure the window is as before. REQUIRES: it has not succeeded yet.
  Status MapInto(const std::shared_ptr<Window>& window, std::uint64_t offset);
  // Grows to `allocated_bytes`, in place, mapped at once. REQUIRES: MapInto succeeded.
  // InvalidArgument beyond max_bytes or the user's file, or below what is allocated. On failure
  // nothing has changed.
  Status Grow(std::uint64_t allocated_bytes);

  Segment(const SegmentOptions& options, UniqueFd fd, bool huge_pages)
      : options_(options),
        fd_(std::move(fd)),
        huge_pages_(huge_pages),
        takes_memory_late_(TakesMemoryLate(fd_.get())),
        allocated_bytes_(options.allocated_bytes) {}

 private:
  Status MapRange(const std::shared_ptr<Window>& window, std::uint64_t window_offset,
                  std::uint64_t begin, std::uint64_t end);

  SegmentOptions options_;
  UniqueFd fd_;
  bool huge_pages_;
  bool takes_memory_late_;
  std::atomic<std::uint64_t> allocated_bytes_;
  std::shared_ptr<Window> window_;
  std::uint64_t window_offset_ = 0;
  mutable Mutex back_mutex_;
  mutable MemoryBudget budget_ GUARDED_BY(back_mutex_);
  // by chunks of kSizeUnit: by Back
  mutable std::vector<bool> taken_ GUARDED_BY(back_mutex_);
};

}  // namespace memfabric
