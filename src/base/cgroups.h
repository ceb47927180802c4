// base/cgroups.h: which control groups of the kernel bound this process, and what they say (v1 and
// v2).
//
// Threads: any. Nothing is kept: each call reads the kernel's files.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace memfabric {

struct Cgroup {
  std::string name;    // "/a/b"
  std::string folder;  // where its files are
  bool v2 = false;
};

// The process's groups of one controller ("memory", "pids"), each followed by those above it up to
// the root. `root` is where /proc and /sys/fs/cgroup are: "" except in tests.
std::vector<Cgroup> CgroupsOf(std::string_view controller, const std::string& root = "");

// The number that a file holds; none when it can't be read, and for "max".
std::optional<std::uint64_t> ReadNumber(const std::string& path);

}  // namespace memfabric
