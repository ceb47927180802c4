// address/process_maps.h: what this process has mapped where, as the kernel tells it. Values; any thread.

#pragma once

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

// /proc/self/maps, in the order of addresses. IoError when it can't be read (not mounted, no descriptor left).
Result<std::vector<ProcessMapping>> ReadProcessMaps();

}  // namespace memfabric
