#include "memory/numa.h"

#include <numa.h>
#include <numaif.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/log.h"

namespace memfabric {

std::vector<NumaNode> NumaNodes() {
  std::vector<NumaNode> nodes;
  if (::numa_available() >= 0) {
    for (int id = 0; id <= ::numa_max_node(); ++id) {
      if (::numa_bitmask_isbitset(::numa_all_nodes_ptr, static_cast<unsigned>(id)) == 0) continue;
      long long bytes = ::numa_node_size64(id, nullptr);
      if (bytes > 0) nodes.push_back({static_cast<unsigned>(id), static_cast<std::uint64_t>(bytes)});
    }
  }
  if (nodes.empty()) {
    auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    nodes.push_back({0, bytes});
  }
  return nodes;
}

Status CheckNumaNode(unsigned node) {
  auto nodes = NumaNodes();
  if (std::any_of(nodes.begin(), nodes.end(), [&](const NumaNode& there) { return there.id == node; })) return Ok();
  std::string ids;
  for (const NumaNode& there : nodes) ids += (ids.empty() ? "" : ", ") + std::to_string(there.id);
  return InvalidArgument("NUMA node {} does not exist or has no memory for this process; there are: {}", node, ids);
}

void PreferNumaNode(std::byte* address, std::size_t size_bytes, unsigned node) {
  if (::numa_available() < 0) return;
  bitmask* mask = ::numa_allocate_nodemask();
  ::numa_bitmask_setbit(mask, node);
  // The kernel takes one bit less than it is told.
  long result = ::mbind(address, size_bytes, MPOL_PREFERRED, mask->maskp, mask->size + 1, 0);
  int error_number = errno;
  ::numa_bitmask_free(mask);
  if (result != 0)
    LOG(kInfo, "memory at {:#x} is not bound to NUMA node {}: mbind: {}", reinterpret_cast<std::uint64_t>(address), node,
        ErrnoText(error_number));
}

}  // namespace memfabric
