#include "memory/host/devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "memory/numa.h"

namespace memfabric {
namespace {

using ::testing::HasSubstr;

TEST(NumaNodes, ArePresentHaveMemoryAndAreInOrder) {
  auto nodes = NumaNodes();
  ASSERT_FALSE(nodes.empty());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    EXPECT_GT(nodes[i].bytes, 0u);
    EXPECT_TRUE(CheckNumaNode(nodes[i].id).ok());
    if (i > 0) {
      EXPECT_GT(nodes[i].id, nodes[i - 1].id);
    }
  }
  EXPECT_TRUE(IsInvalidArgument(CheckNumaNode(nodes.back().id + 1)));
  EXPECT_TRUE(IsInvalidArgument(CheckNumaNode(1U << 31)));
}

TEST(HostDevices, OfThisMachineAreItsNodes) {
  auto backend = host::MakeDevices();
  EXPECT_EQ(backend->name(), "host");
  auto nodes = NumaNodes();
  auto devices = backend->devices();
  ASSERT_EQ(devices.size(), nodes.size());
  for (unsigned i = 0; i < devices.size(); ++i) {
    EXPECT_EQ(devices[i].id, i);
    EXPECT_EQ(devices[i].numa_node, nodes[i].id);
    EXPECT_EQ(devices[i].bytes, nodes[i].bytes);
    EXPECT_THAT(devices[i].name, HasSubstr("host memory"));
  }
}

TEST(HostDevices, EveryIdStandsForANode) {
  auto backend = host::MakeDevices({{0, 1_GiB}, {2, 2_GiB}, {5, 4_GiB}});
  EXPECT_EQ(backend->devices().size(), 3u);
  EXPECT_EQ(backend->devices()[1].numa_node, 2u);
  for (auto [id, node] :
       {std::pair{0u, 0u}, {1u, 2u}, {2u, 5u}, {3u, 0u}, {65535u, 0u}, {65534u, 5u}}) {
    auto device = backend->Find(id);
    ASSERT_TRUE(device.ok()) << device.status();
    EXPECT_EQ(device->id, id);
    EXPECT_EQ(device->numa_node, node);
  }
  EXPECT_TRUE(IsInvalidArgument(backend->Find(65536).status()));
  EXPECT_THAT(backend->Find(65536).status().message(), HasSubstr("65535"));
}

}  // namespace
}  // namespace memfabric
