#include "memory/memory_room.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>
#include <string_view>

#include "base/cgroups.h"
#include "base/units.h"

namespace memfabric {
namespace {

constexpr std::uint64_t kBudgetPart = 16;
constexpr std::chrono::milliseconds kBudgetPeriod{100};

// The value after `key` in a file of "key value" lines; 0 when there is none.
std::uint64_t ReadKey(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t value;
    if (words >> name >> value && name == key) return value;
  }
  return 0;
}

void Tighten(MemoryRoom& room, std::uint64_t bytes, std::string limit) {
  if (bytes < room.bytes) room = {bytes, std::move(limit)};
}

struct CgroupFiles {
  const char* limit;
  const char* usage;
  // keys of memory.stat, with the children's; contributed memory is not in them
  const char* active_cache;
  const char* inactive_cache;
};
constexpr CgroupFiles kV1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file",
                          "total_inactive_file"};
constexpr CgroupFiles kV2{"memory.max", "memory.current", "active_file", "inactive_file"};

void TightenByCgroup(MemoryRoom& room, const Cgroup& group) {
  const CgroupFiles& files = group.v2 ? kV2 : kV1;
  auto limit = ReadNumber(group.folder + files.limit);
  auto used = ReadNumber(group.folder + files.usage);
  if (!limit || !used) return;
  std::uint64_t cache = ReadKey(group.folder + "memory.stat", files.active_cache) +
                        ReadKey(group.folder + "memory.stat", files.inactive_cache);
  std::uint64_t held = *used > cache ? *used - cache : 0;
  Tighten(room, *limit > held ? *limit - held : 0,
          fmt::format("{} of cgroup {} is {}, of which {} are used", files.limit, group.name,
                      SizeText(*limit), SizeText(held)));
}

}  // namespace

MemoryRoom ReadMemoryRoom(const std::string& root) {
  MemoryRoom room;
  if (std::uint64_t kib = ReadKey(root + "/proc/meminfo", "MemAvailable:"); kib != 0)
    Tighten(room, kib * 1_KiB, fmt::format("the machine has {} available", SizeText(kib * 1_KiB)));
  for (const Cgroup& group : CgroupsOf("memory", root)) TightenByCgroup(room, group);
  return room;
}

Status CheckMemoryRoom(std::uint64_t size_bytes, const MemoryRoom& room) {
  if (size_bytes <= room.bytes) return Ok();
  return OutOfMemory(
      "backing {} now would take more than the {} that are left: {}; ask for less, raise the "
      "limit, or leave out "
      "the performance flag, so that memory is taken at its first use",
      SizeText(size_bytes), SizeText(room.bytes), room.limit);
}

Status MemoryBudget::Take(std::uint64_t size_bytes) {
  auto now = std::chrono::steady_clock::now();
  if (size_bytes > left_bytes_ || now >= good_until_) {
    MemoryRoom room = ReadMemoryRoom();
    if (size_bytes > room.bytes)
      return OutOfMemory(
          "{} more would be above the {} that are left: {}: raise that, or contribute less",
          SizeText(size_bytes), SizeText(room.bytes), room.limit);
    // A part: others take memory from the same limit.
    left_bytes_ = std::max(size_bytes, room.bytes / kBudgetPart);
    good_until_ = now + kBudgetPeriod;
  }
  left_bytes_ -= size_bytes;
  return Ok();
}

}  // namespace memfabric
