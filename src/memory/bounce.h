// memory/bounce.h: copies to and from memory that may be gone. What users have registered, or give
// as a copy's own side, may be unmapped, read-only or a mapping of a file that has shrunk. A plain
// instruction there ends the process; the kernel, asked to copy, only says EFAULT.
//
// A buffer is a part of a memfd that is mapped here. preadv() of the file copies what stands in the
// buffer to memory of unknown state, pwrite() copies from there into the buffer: one system call,
// no permission asked (process_vm_writev costs five times as much, and seccomp profiles forbid it).
//
// Owner: a transport's connections own buffers and share their arena, which has one descriptor.
// Threads: Take from any; a buffer is for one at a time.

#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/mapping.h"
#include "base/mutex.h"
#include "base/status.h"

namespace memfabric {

class BounceBuffer;

class BounceArena : public std::enable_shared_from_this<BounceArena> {
 public:
  // OutOfMemory: a limit of the process refuses.
  static Result<std::shared_ptr<BounceArena>> Create();
  Result<BounceBuffer> Take();

  explicit BounceArena(UniqueFd file) : file_(std::move(file)) {}

 private:
  friend class BounceBuffer;
  void GiveBack(std::uint64_t file_offset);

  const UniqueFd file_;
  Mutex mutex_;
  std::uint64_t size_bytes_ GUARDED_BY(mutex_) = 0;     // of the file
  std::vector<std::uint64_t> free_ GUARDED_BY(mutex_);  // offsets
};

class BounceBuffer {
 public:
  static constexpr std::size_t kBytes = 64 << 10;

  BounceBuffer() = default;
  BounceBuffer(BounceBuffer&& other) noexcept = default;
  BounceBuffer& operator=(BounceBuffer&& other) noexcept;
  ~BounceBuffer() { Return(); }

  std::byte* data() const { return mapping_.data(); }

  // Copies what stands at `offset` to `parts`, one behind the other. Fewer bytes than they have:
  // the next can't be written to.
  std::size_t Store(std::size_t offset, std::span<const iovec> parts) const;
  // Copies [from, from + size_bytes) to `offset`. Fewer: the next byte can't be read.
  std::size_t Load(std::size_t offset, const void* from, std::size_t size_bytes) const;

 private:
  friend class BounceArena;
  BounceBuffer(std::shared_ptr<BounceArena> arena, std::uint64_t file_offset, Mapping mapping)
      : arena_(std::move(arena)), file_offset_(file_offset), mapping_(std::move(mapping)) {}
  void Return();

  std::shared_ptr<BounceArena> arena_;
  std::uint64_t file_offset_ = 0;
  Mapping mapping_;
};

// Whether a copy of this process's own may touch [address, address + size_bytes) by plain
// instructions, as far as that can be told for a hundredth of what copying it costs: all of it is
// mapped, and its first and last page can be read, or written to when `write`. InvalidArgument says
// what is wrong. Worth it from kCheapCheckBytes on.
constexpr std::uint64_t kCheapCheckBytes = 1 << 20;
Status CheckOwnMemory(const void* address, std::uint64_t size_bytes, bool write);

// The first part of `parts` that can't be read as a whole, at its begin, end and each page between;
// parts.size(): none.
std::size_t FirstUnreadable(const BounceBuffer& scratch, std::size_t scratch_offset,
                            std::span<const iovec> parts);

}  // namespace memfabric
