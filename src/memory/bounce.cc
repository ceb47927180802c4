#include "memory/bounce.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/core_dump.h"
#include "base/mutex.h"
#include "base/retry.h"

namespace memfabric {
namespace {

#ifndef MADV_POPULATE_READ
constexpr int MADV_POPULATE_READ = 22;
constexpr int MADV_POPULATE_WRITE = 23;
#endif

std::uintptr_t PageBytes() {
  static const auto bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

// By a copy of one byte that the kernel makes, which knows of every kind of memory.
bool CanTouch(void* address, bool write) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return true;  // it can't be told
  const UniqueFd out(ends[0]);
  const UniqueFd in(ends[1]);
  if (RetryOnSignal([&] { return ::write(in.get(), address, 1); }) != 1) return false;
  return !write || RetryOnSignal([&] { return ::read(out.get(), address, 1); }) == 1;
}

}  // namespace

Result<std::shared_ptr<BounceArena>> BounceArena::Create() {
  UniqueFd file(::memfd_create("memfabric-bounce", MFD_CLOEXEC));
  if (!file) return OutOfMemory("memfd_create: {}; see ulimit -n", ErrnoText(errno));
  return std::make_shared<BounceArena>(std::move(file));
}

Result<BounceBuffer> BounceArena::Take() {
  std::uint64_t offset;
  {
    MutexLock lock(mutex_);
    if (free_.empty()) {
      const std::uint64_t size_bytes = size_bytes_ + BounceBuffer::kBytes;
      rlimit limit{};  // to grow beyond it would end the process with SIGXFSZ
      if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
          size_bytes > limit.rlim_cur)
        return OutOfMemory(
            "a memfd of {} bytes is above RLIMIT_FSIZE, {}: raise it (ulimit -f unlimited)",
            size_bytes, limit.rlim_cur);
      if (RetryOnSignal([&] { return ::ftruncate(file_.get(), static_cast<off_t>(size_bytes)); }) !=
          0)
        return OutOfMemory("a memfd of {} bytes: {}", size_bytes, ErrnoText(errno));
      free_.push_back(size_bytes_);
      size_bytes_ = size_bytes;
    }
    offset = free_.back();
    free_.pop_back();
  }
  void* address = ::mmap(nullptr, BounceBuffer::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                         file_.get(), static_cast<off_t>(offset));
  if (address == MAP_FAILED) {
    const int error = errno;
    GiveBack(offset);
    return OutOfMemory("{} bytes of a memfd can't be mapped: {}", BounceBuffer::kBytes,
                       ErrnoText(error));
  }
  LeaveOutOfCoreDumps(address, BounceBuffer::kBytes);
  return BounceBuffer(shared_from_this(), offset, Mapping(address, BounceBuffer::kBytes));
}

void BounceArena::GiveBack(std::uint64_t file_offset) {
  (void)RetryOnSignal([&] {
    return ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       static_cast<off_t>(file_offset), BounceBuffer::kBytes);
  });
  MutexLock lock(mutex_);
  free_.push_back(file_offset);
}

BounceBuffer& BounceBuffer::operator=(BounceBuffer&& other) noexcept {
  if (this != &other) {
    Return();
    arena_ = std::move(other.arena_);
    file_offset_ = other.file_offset_;
    mapping_ = std::move(other.mapping_);
  }
  return *this;
}

void BounceBuffer::Return() {
  mapping_.Unmap();
  if (arena_ != nullptr) std::exchange(arena_, nullptr)->GiveBack(file_offset_);
}

std::size_t BounceBuffer::Store(std::size_t offset, std::span<const iovec> parts) const {
  const auto at = static_cast<off_t>(file_offset_ + offset);
  const ssize_t stored = RetryOnSignal([&] {
    return ::preadv(arena_->file_.get(), parts.data(), static_cast<int>(parts.size()), at);
  });
  return stored > 0 ? static_cast<std::size_t>(stored) : 0;
}

std::size_t BounceBuffer::Load(std::size_t offset, const void* from, std::size_t size_bytes) const {
  std::size_t done = 0;
  while (done < size_bytes) {
    const ssize_t loaded = RetryOnSignal([&] {
      return ::pwrite(arena_->file_.get(), static_cast<const std::byte*>(from) + done,
                      size_bytes - done, static_cast<off_t>(file_offset_ + offset + done));
    });
    if (loaded <= 0) break;
    done += static_cast<std::size_t>(loaded);
  }
  return done;
}

Status CheckOwnMemory(const void* address, std::uint64_t size_bytes, bool write) {
  constexpr std::uintptr_t kPagesAtOnce = 4096;
  const std::uintptr_t page_bytes = PageBytes();
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t first = begin & ~(page_bytes - 1);
  const std::uintptr_t end = begin + size_bytes;
  std::array<unsigned char, kPagesAtOnce> residents;  // nobody reads them
  for (std::uintptr_t at = first; at < end; at += kPagesAtOnce * page_bytes) {
    const std::uintptr_t bytes = std::min(end - at, kPagesAtOnce * page_bytes);
    if (RetryOnSignal(
            [&] { return ::mincore(reinterpret_cast<void*>(at), bytes, residents.data()); }) == 0)
      continue;                        // NOLINT
    if (errno != ENOMEM) return Ok();  // it can't be told
    return InvalidArgument(
        "[{:#x}, +{}) isn't mapped as a whole in this process: the memory was freed, or never "
        "there",
        begin, size_bytes);
  }
  for (const std::uintptr_t page : {first, (end - 1) & ~(page_bytes - 1)}) {
    auto* there = reinterpret_cast<void*>(page);  // NOLINT
    if (RetryOnSignal([&] {
          return ::madvise(there, page_bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
        }) == 0)
      continue;
    // EINVAL: it is protected, belongs to a device, or the kernel is older than 5.14.
    auto* touched = reinterpret_cast<void*>(std::max(page, begin));  // NOLINT
    if (errno != EFAULT && errno != ENOMEM && CanTouch(touched, write)) continue;
    return InvalidArgument(
        "[{:#x}, +{}) can't be {} in this process at {:#x}: it is protected, or its file has "
        "shrunk",
        begin, size_bytes, write ? "written to" : "read", std::max(page, begin));
  }
  return Ok();
}

std::size_t FirstUnreadable(const BounceBuffer& scratch, std::size_t scratch_offset,
                            std::span<const iovec> parts) {
  const std::uintptr_t page_bytes = PageBytes();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto begin = reinterpret_cast<std::uintptr_t>(parts[i].iov_base);
    for (std::uintptr_t at = begin; at < begin + parts[i].iov_len;
         at = (at & ~(page_bytes - 1)) + page_bytes) {
      if (scratch.Load(scratch_offset, reinterpret_cast<const void*>(at), 1) != 1)
        return i;  // NOLINT
    }
  }
  return parts.size();
}

}  // namespace memfabric
