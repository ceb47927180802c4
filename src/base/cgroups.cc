#include "base/cgroups.h"

#include <fmt/core.h>

#include <fstream>

namespace memfabric {

std::optional<std::uint64_t> ReadNumber(const std::string& path) {
  std::uint64_t value;
  if (std::ifstream(path) >> value) return value;
  return std::nullopt;
}

std::vector<Cgroup> CgroupsOf(std::string_view controller, const std::string& root) {
  std::vector<Cgroup> found;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "4:memory:/path" (v1, controllers separated by commas) or "0::/path" (v2), see cgroups(7).
    std::size_t first = line.find(':');
    std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line.compare(second + 1, 1, "/") != 0) continue;
    std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    bool v2 = controllers == ",,";
    if (!v2 && controllers.find(fmt::format(",{},", controller)) == std::string::npos) continue;
    std::string mount =
        v2 ? root + "/sys/fs/cgroup" : fmt::format("{}/sys/fs/cgroup/{}", root, controller);
    for (std::string name = line.substr(second + 1);; name.erase(name.rfind('/'))) {
      if (name == "/") name.clear();
      found.push_back({.name = name.empty() ? "/" : name, .folder = mount + name + "/", .v2 = v2});
      if (name.empty()) break;
    }
  }
  return found;
}

}  // namespace memfabric
