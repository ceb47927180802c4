#include "memory/numa.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/log.h"

namespace memfabric {
namespace {

constexpr unsigned kMaxNodes = 1024;  // no kernel has more: NODES_SHIFT is at most 10
constexpr unsigned kWordBits = 8 * sizeof(unsigned long);

// Nodes as the kernel takes them. It reads one bit less than it is told.
struct NodeMask {
  unsigned long words[kMaxNodes / kWordBits] = {};
  static constexpr unsigned long kBits = kMaxNodes + 1;

  bool Has(unsigned node) const {
    return node < kMaxNodes && (words[node / kWordBits] >> (node % kWordBits) & 1) != 0;
  }
  void Add(unsigned node) { words[node / kWordBits] |= 1UL << (node % kWordBits); }
};

// In bytes; 0 for a node without memory, or what is no node.
std::uint64_t MemoryOfNode(const std::filesystem::path& folder) {
  std::ifstream file(folder / "meminfo");
  for (std::string word; file >> word;) {  // "Node 0 MemTotal:  14117068 kB"
    std::uint64_t kib = 0;
    if (word == "MemTotal:") return file >> kib ? kib * 1024 : 0;
  }
  return 0;
}

}  // namespace

std::vector<NumaNode> ReadNumaNodes(const std::string& folder) {
  std::vector<NumaNode> nodes;
  std::error_code unreadable;
  for (std::filesystem::directory_iterator entry(folder, unreadable), end;
       !unreadable && entry != end; entry.increment(unreadable)) {
    std::string name = entry->path().filename().string();
    if (!name.starts_with("node")) continue;
    NumaNode node;
    auto [rest, error] = std::from_chars(name.data() + 4, name.data() + name.size(), node.id);
    if (error != std::errc() || rest != name.data() + name.size()) continue;
    node.bytes = MemoryOfNode(entry->path());
    if (node.bytes > 0) nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end(),
            [](const NumaNode& a, const NumaNode& b) { return a.id < b.id; });
  return nodes;
}

std::vector<NumaNode> NumaNodes() {
  std::vector<NumaNode> nodes = ReadNumaNodes("/sys/devices/system/node");
  NodeMask allowed;
  // A kernel or a container that doesn't tell allows all.
  if (::syscall(SYS_get_mempolicy, nullptr, allowed.words, NodeMask::kBits, nullptr,
                MPOL_F_MEMS_ALLOWED) == 0)
    std::erase_if(nodes, [&](const NumaNode& node) { return !allowed.Has(node.id); });
  if (nodes.empty()) {
    auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                 static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    nodes.push_back({0, bytes});
  }
  return nodes;
}

Status CheckNumaNode(unsigned node) {
  auto nodes = NumaNodes();
  if (std::any_of(nodes.begin(), nodes.end(),
                  [&](const NumaNode& there) { return there.id == node; }))
    return Ok();
  std::string ids;
  for (const NumaNode& there : nodes) ids += (ids.empty() ? "" : ", ") + std::to_string(there.id);
  return InvalidArgument(
      "NUMA node {} does not exist or has no memory for this process; there are: {}", node, ids);
}

void PreferNumaNode(std::byte* address, std::size_t size_bytes, unsigned node) {
  NodeMask mask;
  mask.Add(node);
  long result =
      ::syscall(SYS_mbind, address, size_bytes, MPOL_PREFERRED, mask.words, NodeMask::kBits, 0);
  int error_number = errno;
  if (result != 0)
    LOG(kInfo, "memory at {:#x} is not bound to NUMA node {}: mbind: {}",
        reinterpret_cast<std::uint64_t>(address), node, ErrnoText(error_number));
}

}  // namespace memfabric
