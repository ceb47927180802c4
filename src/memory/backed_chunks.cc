#include "memory/backed_chunks.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "base/log.h"
#include "base/mutex.h"

namespace memfabric {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPatience{200};  // with a peer that is stopped, or starved

}  // namespace

BackedChunks::BackedChunks(std::uint64_t max_bytes,
                           std::function<void(std::uint64_t, std::uint64_t)> ask)
    : count_((max_bytes + kChunkBytes - 1) / kChunkBytes),
      flags_(static_cast<std::atomic<std::uint8_t>*>(
          std::calloc(count_, sizeof(std::atomic<std::uint8_t>)))),
      ask_(std::move(ask)) {
  static_assert(std::atomic<std::uint8_t>::is_always_lock_free &&
                sizeof(std::atomic<std::uint8_t>) == 1);
  CHECK(flags_ != nullptr);
}

Status BackedChunks::Obtain(std::uint64_t offset, std::uint64_t size_bytes) {
  if (Covers(offset, size_bytes)) return Ok();
  Waiter waiter{offset / kChunkBytes, (offset + size_bytes - 1) / kChunkBytes, {}};
  MutexLock lock(mutex_);
  if (ended_ || late_) return Ok();
  std::uint64_t first = waiter.last + 1, last = 0;
  for (std::uint64_t chunk = waiter.first; chunk <= waiter.last; ++chunk) {
    if (flags_[chunk].load(std::memory_order_relaxed) != kUnknown) continue;
    flags_[chunk].store(kAsked, std::memory_order_relaxed);
    first = std::min(first, chunk);
    last = chunk;
  }
  // One question, also about what lies between: a peer has few of them waiting.
  if (first <= last) ask_(first, last - first + 1);
  waiters_.push_back(&waiter);
  for (;;) {
    std::uint64_t before = answers_;
    for (auto until = steady_clock::now() + kPatience;
         !ended_ && answers_ == before && steady_clock::now() < until;)
      changed_.WaitUntil(mutex_, until);
    if (ended_ || !waiter.refused.ok() || Covers(offset, size_bytes)) break;
    if (answers_ != before) continue;
    late_ = true;
    break;
  }
  std::erase(waiters_, &waiter);
  return std::move(waiter.refused);
}

Status BackedChunks::CheckRange(std::uint64_t first, std::uint64_t count) const {
  if (count > 0 && count <= count_ && first <= count_ - count) return Ok();
  return InvalidArgument("{} chunks from {} on are said to have memory, and there are {}", count,
                         first, count_);
}

Status BackedChunks::OnBacked(std::uint64_t first, std::uint64_t count) {
  RETURN_IF_ERROR(CheckRange(first, count));
  MutexLock lock(mutex_);
  for (std::uint64_t chunk = first; chunk < first + count; ++chunk)
    flags_[chunk].store(kBacked, std::memory_order_relaxed);
  ++answers_;
  late_ = false;
  changed_.NotifyAll();
  return Ok();
}

Status BackedChunks::OnRefused(std::uint64_t first, std::uint64_t count, std::string_view why) {
  RETURN_IF_ERROR(CheckRange(first, count));
  MutexLock lock(mutex_);
  for (std::uint64_t chunk = first; chunk < first + count; ++chunk)
    if (flags_[chunk].load(std::memory_order_relaxed) == kAsked)
      flags_[chunk].store(kUnknown, std::memory_order_relaxed);
  for (Waiter* waiter : waiters_)
    if (waiter->first < first + count && first <= waiter->last)
      waiter->refused = OutOfMemory("{}", why);
  ++answers_;
  late_ = false;
  changed_.NotifyAll();
  return Ok();
}

void BackedChunks::End() {
  MutexLock lock(mutex_);
  ended_ = true;
  changed_.NotifyAll();
}

}  // namespace memfabric
