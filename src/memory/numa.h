// memory/numa.h: the NUMA nodes of this machine, by the kernel's own files and calls. Any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace memfabric {

struct NumaNode {
  unsigned id = 0;
  std::uint64_t bytes = 0;  // of memory
};

// The nodes with memory that this process may use, in the order of their ids; node 0 with all
// memory where the kernel knows none.
std::vector<NumaNode> NumaNodes();

// The nodes with memory that a folder like /sys/devices/system/node describes, in the order of
// their ids.
std::vector<NumaNode> ReadNumaNodes(const std::string& folder);

// InvalidArgument names the nodes there are.
Status CheckNumaNode(unsigned node);

// Pages that [address, address + size_bytes) gets from now on come from `node` while it has any. A
// wish: kernels and containers that refuse it get a line in the log. REQUIRES: CheckNumaNode(node)
// is Ok, address page-aligned.
void PreferNumaNode(std::byte* address, std::size_t size_bytes, unsigned node);

}  // namespace memfabric
