#include "memory/segment.h"

#include <fcntl.h>

#include <algorithm>

#include "base/log.h"
#include "base/mutex.h"
#include "base/retry.h"
#include "base/units.h"
#include "memory/fault_in.h"
#include "memory/numa.h"

namespace memfabric {
namespace {

Status CheckSizes(const SegmentOptions& options) {
  if (options.max_bytes == 0 || options.max_bytes > static_cast<std::uint64_t>(INT64_MAX) ||
      !IsMultipleOf(options.max_bytes, kSizeUnit))
    return InvalidArgument("max size of {} bytes is no multiple of {} above 0", options.max_bytes,
                           SizeText(kSizeUnit));
  if (!IsMultipleOf(options.allocated_bytes, kSizeUnit))
    return InvalidArgument("size of {} bytes is no multiple of {}", options.allocated_bytes,
                           SizeText(kSizeUnit));
  if (options.allocated_bytes > options.max_bytes)
    return InvalidArgument("size of {} is above the max of {}", SizeText(options.allocated_bytes),
                           SizeText(options.max_bytes));
  return Ok();
}

}  // namespace

Result<std::unique_ptr<Segment>> Segment::Create(const SegmentOptions& options) {
  RETURN_IF_ERROR(CheckSizes(options));
  if (options.numa_node) RETURN_IF_ERROR(CheckNumaNode(*options.numa_node));
  ASSIGN_OR_RETURN(auto backing, options.user_fd >= 0
                                     ? AdoptBacking(options.user_fd, options.allocated_bytes)
                                     : MakeBacking(options.max_bytes, options.allocated_bytes > 0));
  return std::make_unique<Segment>(options, std::move(backing.fd), backing.huge_pages);
}

Status Segment::MapInto(const std::shared_ptr<Window>& window, std::uint64_t offset) {
  CHECK(window_ == nullptr);
  if (allocated_bytes() > 0) RETURN_IF_ERROR(MapRange(window, offset, 0, allocated_bytes()));
  window_ = window;
  window_offset_ = offset;
  return Ok();
}

Status Segment::Grow(std::uint64_t allocated_bytes) {
  CHECK(window_ != nullptr);
  std::uint64_t before = this->allocated_bytes();
  if (!IsMultipleOf(allocated_bytes, kSizeUnit))
    return InvalidArgument("size of {} bytes is no multiple of {}", allocated_bytes,
                           SizeText(kSizeUnit));
  if (allocated_bytes < before)
    return InvalidArgument("size of {} is below the {} that are allocated",
                           SizeText(allocated_bytes), SizeText(before));
  if (allocated_bytes > options_.max_bytes)
    return InvalidArgument("size of {} is above the max of {}", SizeText(allocated_bytes),
                           SizeText(options_.max_bytes));
  if (allocated_bytes == before) return Ok();
  if (options_.user_fd >= 0) RETURN_IF_ERROR(CheckFileSize(fd(), allocated_bytes));
  RETURN_IF_ERROR(MapRange(window_, window_offset_, before, allocated_bytes));
  // Whoever sees the new size may use the new part: it is mapped.
  allocated_bytes_.store(allocated_bytes, std::memory_order_release);
  return Ok();
}

Status Segment::Back(std::uint64_t offset, std::uint64_t size_bytes) const {
  CHECK(offset <= allocated_bytes() && size_bytes <= allocated_bytes() - offset);
  if (backed()) return Ok();
  MutexLock lock(back_mutex_);
  const std::uint64_t first = (offset + kSizeUnit - 1) / kSizeUnit,
                      end = (offset + size_bytes) / kSizeUnit;
  if (taken_.empty()) taken_.resize(max_bytes() / kSizeUnit);
  auto begin = taken_.begin() + static_cast<std::ptrdiff_t>(first);
  bool whole = first * kSizeUnit == offset && end * kSizeUnit == offset + size_bytes;
  if (whole && std::all_of(begin, begin + static_cast<std::ptrdiff_t>(end - first),
                           [](bool taken) { return taken; }))
    return Ok();
  // What is there is no question of room. A user's file has a position that is the user's.
  if (options_.user_fd >= 0 || HasHole(fd(), offset, size_bytes))
    RETURN_IF_ERROR(budget_.Take(size_bytes));
  RETURN_IF_ERROR(TakeMemory(fd(), offset, size_bytes));
  if (first < end) std::fill(begin, begin + static_cast<std::ptrdiff_t>(end - first), true);
  return Ok();
}

Status Segment::MapRange(const std::shared_ptr<Window>& window, std::uint64_t window_offset,
                         std::uint64_t begin, std::uint64_t end) {
  // Reserved huge pages are ours already, and a user's file may be backed already.
  if (options_.fault_in && !huge_pages_) {
    ASSIGN_OR_RETURN(std::uint64_t unbacked, UnbackedBytes(fd()));
    RETURN_IF_ERROR(CheckMemoryRoom(std::min(end - begin, unbacked), ReadMemoryRoom()));
  }
  RETURN_IF_ERROR(window->Map(window_offset + begin, end - begin, fd(), begin));
  std::byte* address = window->data() + window_offset + begin;
  if (options_.numa_node) PreferNumaNode(address, end - begin, *options_.numa_node);
  if (!options_.fault_in) return Ok();
  Status faulted = FaultIn(address, end - begin);
  if (faulted.ok()) return faulted;
  if (Status restored = window->MapNothing(window_offset + begin, end - begin); !restored.ok())
    LOG(kWarn, "{}", restored.ToString());
  // Our own file gives the pages back; a user's keeps its bytes.
  if (options_.user_fd < 0)
    (void)RetryOnSignal([&] {
      return ::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         static_cast<off_t>(begin), static_cast<off_t>(end - begin));
    });
  return faulted;
}

}  // namespace memfabric
