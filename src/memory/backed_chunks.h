// memory/backed_chunks.h: which chunks of a peer's memory this process knows to have pages.
//
// A page of shared memory is charged to the cgroup of whoever touches it first, be it by reading.
// So before this process first touches a chunk of a peer's memory, it asks the peer to take pages
// for it. docs/addressing.md says when it doesn't.
//
// Owner: the link to the peer; shared with whoever copies. Threads: any. Covers takes no lock; one
// mutex for the rest. Memory order: flags say nothing about contents, so they are relaxed.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/units.h"

namespace memfabric {

class BackedChunks {
 public:
  static constexpr std::uint64_t kChunkBytes = kHugePageBytes;

  // `ask` sends the peer a request for `count` chunks from `first` on; called with the mutex held,
  // it must not wait.
  BackedChunks(std::uint64_t max_bytes,
               std::function<void(std::uint64_t first, std::uint64_t count)> ask);

  // REQUIRES of this and Obtain: size_bytes > 0, and the range lies within max_bytes.
  bool Covers(std::uint64_t offset, std::uint64_t size_bytes) const {
    std::uint64_t last = (offset + size_bytes - 1) / kChunkBytes;
    for (std::uint64_t chunk = offset / kChunkBytes; chunk <= last; ++chunk)
      if (flags_[chunk].load(std::memory_order_relaxed) != kBacked) return false;
    return true;
  }

  // Returns once the range may be touched. OutOfMemory: the peer has no memory for it, and says
  // why. A peer that doesn't answer for 200 ms, or has ended, keeps nobody: then this process
  // touches the range at its own cost.
  Status Obtain(std::uint64_t offset, std::uint64_t size_bytes);

  // The peer's answers. InvalidArgument: no such chunks.
  Status OnBacked(std::uint64_t first, std::uint64_t count);
  Status OnRefused(std::uint64_t first, std::uint64_t count, std::string_view why);
  // There will be no answers any more.
  void End();

 private:
  enum : std::uint8_t { kUnknown = 0, kAsked, kBacked };
  struct Waiter {
    std::uint64_t first;
    std::uint64_t last;
    Status refused;
  };
  struct FreeFlags {
    void operator()(std::atomic<std::uint8_t>* flags) const { std::free(flags); }
  };
  Status CheckRange(std::uint64_t first, std::uint64_t count) const;

  const std::uint64_t count_;
  // Zeros that take memory as they are written: a slot may be of terabytes.
  const std::unique_ptr<std::atomic<std::uint8_t>[], FreeFlags> flags_;
  const std::function<void(std::uint64_t, std::uint64_t)> ask_;
  Mutex mutex_;  // held for changes of flags, too
  CondVar changed_;
  std::vector<Waiter*> waiters_ GUARDED_BY(mutex_);
  std::uint64_t answers_ GUARDED_BY(mutex_) = 0;
  // the last question was not answered in time, and nothing has come since
  bool late_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace memfabric
