#include "memory/numa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/units.h"

namespace memfabric {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;

class NumaFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "mf-numa-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Add(const std::string& name, const std::string& meminfo) {
    std::filesystem::create_directory(folder_ / name);
    std::ofstream(folder_ / name / "meminfo") << meminfo;
  }

  std::filesystem::path folder_;
};

auto Node(unsigned id, std::uint64_t bytes) {
  return AllOf(Field(&NumaNode::id, id), Field(&NumaNode::bytes, bytes));
}

TEST_F(NumaFolder, NodesWithMemoryAreReadInOrderOfTheirIds) {
  Add("node10", "Node 10 MemTotal:       4096 kB\nNode 10 MemFree:   1 kB\n");
  Add("node2", "Node 2 MemTotal:        2097152 kB\n");
  Add("node0", "Node 0 MemTotal:        0 kB\n");  // processors only
  Add("node3x", "Node 3 MemTotal:       4096 kB\n");
  Add("node", "Node 4 MemTotal:        4096 kB\n");
  Add("power", "");
  EXPECT_THAT(ReadNumaNodes(folder_), ElementsAre(Node(2, 2_GiB), Node(10, 4_MiB)));
}

TEST_F(NumaFolder, AKernelWithoutNodesHasNone) {
  EXPECT_TRUE(ReadNumaNodes(folder_).empty());
  EXPECT_TRUE(ReadNumaNodes(folder_ / "missing").empty());
}

TEST(NumaPolicy, MemoryPrefersTheNodeItIsGiven) {
  unsigned node = NumaNodes().back().id;
  std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  PreferNumaNode(static_cast<std::byte*>(memory), page, node);
  int policy = -1;
  unsigned long nodes[16] = {};
  long result =
      syscall(SYS_get_mempolicy, &policy, nodes, 8 * sizeof(nodes) + 1, memory, MPOL_F_ADDR);
  munmap(memory, page);
  if (result != 0) GTEST_SKIP() << "this machine refuses get_mempolicy";
  EXPECT_EQ(policy, MPOL_PREFERRED);
  EXPECT_EQ(nodes[node / 64], 1UL << (node % 64));
}

}  // namespace
}  // namespace memfabric
