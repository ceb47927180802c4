// memory/memory_room.h: how much memory this process may still touch before the kernel starts to
// kill. Values; any thread.

#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace memfabric {

struct MemoryRoom {
  std::uint64_t bytes = UINT64_MAX;
  // what sets it, with its values: "memory.max of cgroup /a is 512 MiB, 100 MiB are used"
  std::string limit;
};

// The tightest of what the machine has available and the limits of this process's cgroups (v1 and
// v2) up to the root. `root` is where /proc and /sys/fs/cgroup are: "" except in tests. What can't
// be read doesn't bound.
MemoryRoom ReadMemoryRoom(const std::string& root = "");

// OutOfMemory when `size_bytes` more would be above the room, with the values and what to do.
Status CheckMemoryRoom(std::uint64_t size_bytes, const MemoryRoom& room);

// The same for many small takes in a row: most of them don't read the limits. One thread at a time.
class MemoryBudget {
 public:
  Status Take(std::uint64_t size_bytes);

 private:
  std::uint64_t left_bytes_ = 0;
  TimePoint good_until_;  // of left_bytes_
};

}  // namespace memfabric
