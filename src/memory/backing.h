// memory/backing.h: the file behind a segment. Any thread.

#pragma once

#include <cstdint>

#include "base/fd.h"
#include "base/status.h"

namespace memfabric {

struct Backing {
  UniqueFd fd;
  bool huge_pages = false;  // hugetlb
};

// A sparse memfd of `size_bytes` (a multiple of 2 MiB), sealed for good against shrinking and
// growing; on reserved huge pages when all of it can have them and `may_take_huge_pages`, which
// takes them from everybody else at once. OutOfMemory names the limit that refuses.
Result<Backing> MakeBacking(std::uint64_t size_bytes, bool may_take_huge_pages);

// A duplicate of a user's file, sealed against shrinking if it can be. InvalidArgument: it can't be
// mapped for reading and writing by all, or has fewer than `size_bytes`.
Result<Backing> AdoptBacking(int user_fd, std::uint64_t size_bytes);

// How much more memory the file can take.
Result<std::uint64_t> UnbackedBytes(int fd);

// Whether the file's pages are memory that is taken at the first touch (tmpfs, memfd), and charged
// to whoever touches.
bool TakesMemoryLate(int fd);

// Whether a range of such a file lacks pages with contents. Moves the file's position.
bool HasHole(int fd, std::uint64_t offset, std::uint64_t size_bytes);

// Takes pages for a range of such a file, charged to this process. They are cleared when they are
// first touched; contents stay. OutOfMemory: there are none. REQUIRES: the memory is there
// (memory_room.h): beyond it the kernel kills.
Status TakeMemory(int fd, std::uint64_t offset, std::uint64_t size_bytes);

// InvalidArgument with both values when the file is too small now.
Status CheckFileSize(int fd, std::uint64_t size_bytes);

}  // namespace memfabric
