#include "memory/memory_room.h"

#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/units.h"

namespace memfabric {
namespace {

std::optional<std::uint64_t> ReadNumber(const std::string& path) {
  std::uint64_t value;
  if (std::ifstream(path) >> value) return value;  // "max" is no number, and no limit
  return std::nullopt;
}

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
  const char* mount;
  const char* limit;
  const char* usage;
  const char* active_cache;  // keys of memory.stat, with the children's; contributed memory is not in them
  const char* inactive_cache;
};
constexpr CgroupFiles kV1{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file",
                          "total_inactive_file"};
constexpr CgroupFiles kV2{"/sys/fs/cgroup", "memory.max", "memory.current", "active_file", "inactive_file"};

// This group's limit and those above it.
void TightenByCgroup(MemoryRoom& room, const std::string& root, const CgroupFiles& files, std::string group) {
  for (;;) {
    if (group == "/") group.clear();
    std::string folder = root + files.mount + group + "/";
    auto limit = ReadNumber(folder + files.limit);
    auto used = ReadNumber(folder + files.usage);
    if (limit && used) {
      std::uint64_t cache =
          ReadKey(folder + "memory.stat", files.active_cache) + ReadKey(folder + "memory.stat", files.inactive_cache);
      std::uint64_t held = *used > cache ? *used - cache : 0;
      Tighten(room, *limit > held ? *limit - held : 0,
              fmt::format("{} of cgroup {} is {}, of which {} are used", files.limit, group.empty() ? "/" : group,
                          SizeText(*limit), SizeText(held)));
    }
    if (group.empty()) return;
    group.erase(group.rfind('/'));
  }
}

}  // namespace

MemoryRoom ReadMemoryRoom(const std::string& root) {
  MemoryRoom room;
  if (std::uint64_t kib = ReadKey(root + "/proc/meminfo", "MemAvailable:"); kib != 0)
    Tighten(room, kib * 1_KiB, fmt::format("the machine has {} available", SizeText(kib * 1_KiB)));
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "4:memory:/path" (v1, controllers separated by commas) or "0::/path" (v2), see cgroups(7).
    std::size_t first = line.find(':');
    std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line.compare(second + 1, 1, "/") != 0) continue;
    std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string group = line.substr(second + 1);
    if (controllers == ",,") TightenByCgroup(room, root, kV2, group);
    if (controllers.find(",memory,") != std::string::npos) TightenByCgroup(room, root, kV1, group);
  }
  return room;
}

Status CheckMemoryRoom(std::uint64_t size_bytes, const MemoryRoom& room) {
  if (size_bytes <= room.bytes) return Ok();
  return OutOfMemory(
      "backing {} now would take more than the {} that are left: {}; ask for less, raise the limit, or leave out "
      "the performance flag, so that memory is taken at its first use",
      SizeText(size_bytes), SizeText(room.bytes), room.limit);
}

}  // namespace memfabric
