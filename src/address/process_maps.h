// address/process_maps.h: what this process has mapped where, as the kernel tells it. Values; any
// thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace memfabric {

struct ProcessMapping {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::string permissions;  // "rw-p"
  std::string name;         // a path, "[heap]", "[anon:…]", or ""

  std::string ToString() const;  // "0x1000-0x2000 rw-p /lib/x.so"
};

// /proc/self/maps, in the order of addresses. IoError when it can't be read (not mounted, no
// descriptor left).
Result<std::vector<ProcessMapping>> ReadProcessMaps();
// How many there are, without taking memory for them.
Result<std::size_t> CountProcessMappings();

}  // namespace memfabric
