#include "address/pool_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "address/window.h"

namespace memfabric {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kBase = 0x1000'0000'0000;

PoolLayout Layout(std::uint32_t world_size, std::uint64_t device, std::uint64_t host,
                  std::uint64_t base = kBase) {
  return {base, world_size, {device, host}};
}

using Shape = std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>;

class PoolLayouts : public ::testing::TestWithParam<Shape> {
 protected:
  PoolLayout layout_ =
      Layout(std::get<0>(GetParam()), std::get<1>(GetParam()), std::get<2>(GetParam()));
};

TEST_P(PoolLayouts, SlotsFollowEachOtherDeviceZoneFirst) {
  ASSERT_TRUE(layout_.Validate().ok()) << layout_.Validate();
  std::uint64_t expected = layout_.base;
  for (Zone zone : kAllZones) {
    for (Rank rank = 0; rank < layout_.world_size; ++rank) {
      ASSERT_EQ(layout_.SlotAddress(zone, rank).value, expected) << ZoneName(zone) << " " << rank;
      expected += layout_.max_bytes[Index(zone)];
    }
  }
  EXPECT_EQ(layout_.base + layout_.WindowBytes(), expected);
}

TEST_P(PoolLayouts, EachEndOfEachSlotIsLocatedInItAndOneOffIsNot) {
  for (Zone zone : kAllZones) {
    std::uint64_t slot_bytes = layout_.max_bytes[Index(zone)];
    if (slot_bytes == 0) continue;
    for (Rank rank = 0; rank < layout_.world_size; ++rank) {
      std::uint64_t begin = layout_.SlotAddress(zone, rank).value;
      ASSERT_EQ(layout_.Locate({begin}), (SlotOffset{zone, rank, 0}));
      ASSERT_EQ(layout_.Locate({begin + slot_bytes / 2}), (SlotOffset{zone, rank, slot_bytes / 2}));
      ASSERT_EQ(layout_.Locate({begin + slot_bytes - 1}), (SlotOffset{zone, rank, slot_bytes - 1}));
      for (std::uint64_t outside : {begin - 1, begin + slot_bytes}) {
        auto located = layout_.Locate({outside});
        ASSERT_TRUE(!located || located->zone != zone || located->rank != rank)
            << ZoneName(zone) << " " << rank;
        // The neighbour is the one whose slot really holds the address.
        if (located) {
          ASSERT_EQ(layout_.SlotAddress(located->zone, located->rank).value + located->offset,
                    outside);
        }
      }
    }
  }
}

TEST_P(PoolLayouts, OutsideTheWindowIsNowhere) {
  for (std::uint64_t outside :
       {std::uint64_t{0}, layout_.base - 1, layout_.base + layout_.WindowBytes(), UINT64_MAX,
        std::uint64_t{1} << 63}) {
    EXPECT_FALSE(layout_.Contains({outside})) << outside;
    EXPECT_FALSE(layout_.Locate({outside})) << outside;
  }
  EXPECT_TRUE(layout_.Contains({layout_.base}));
  EXPECT_TRUE(layout_.Contains({layout_.base + layout_.WindowBytes() - 1}));
}

INSTANTIATE_TEST_SUITE_P(Worlds, PoolLayouts,
                         ::testing::Combine(::testing::Values(1, 2, 3, 8, 64, 1024),
                                            ::testing::Values(2_MiB, 6_MiB, 64_GiB),
                                            ::testing::Values(2_MiB, 1_GiB + 2_MiB, 2_TiB)));
INSTANTIATE_TEST_SUITE_P(ZonesOfSizeZero, PoolLayouts,
                         ::testing::Values(Shape{1, 0, 2_MiB}, Shape{1024, 0, 2_TiB},
                                           Shape{3, 2_MiB, 0}, Shape{1024, 64_GiB, 0}));

TEST(PoolLayout, RefusesWorldsOutOfRange) {
  for (std::uint32_t world_size : {0u, 1025u, 0xffff'ffffu}) {
    Status status = Layout(world_size, 0, 2_MiB).Validate();
    EXPECT_TRUE(IsInvalidArgument(status)) << world_size;
    EXPECT_THAT(status.message(), HasSubstr(std::to_string(world_size)));
  }
  EXPECT_TRUE(Layout(1, 0, 2_MiB).Validate().ok());
  EXPECT_TRUE(Layout(1024, 0, 2_MiB).Validate().ok());
}

TEST(PoolLayout, RefusesSizesAboveTheirLimitAndSaysIt) {
  EXPECT_TRUE(Layout(2, 64_GiB, 2_TiB).Validate().ok());
  Status device = Layout(2, 64_GiB + 2_MiB, 0).Validate();
  EXPECT_TRUE(IsInvalidArgument(device));
  EXPECT_THAT(device.message(), HasSubstr("64 GiB"));
  Status host = Layout(2, 0, 2_TiB + 2_MiB).Validate();
  EXPECT_TRUE(IsInvalidArgument(host));
  EXPECT_THAT(host.message(), HasSubstr("2 TiB"));
  // Sums that would wrap.
  EXPECT_TRUE(IsInvalidArgument(Layout(1024, 0, 1ULL << 63).Validate()));
  EXPECT_TRUE(IsInvalidArgument(Layout(1024, UINT64_MAX, UINT64_MAX).Validate()));
}

TEST(PoolLayout, RefusesSizesThatAreNoMultipleOf2MiB) {
  for (std::uint64_t size : {1_MiB, 2_MiB - 1, 2_MiB + 1, 3_MiB, std::uint64_t{1}}) {
    EXPECT_TRUE(IsInvalidArgument(Layout(2, 0, size).Validate())) << size;
    EXPECT_THAT(Layout(2, size, 0).Validate().message(), HasSubstr(std::to_string(size)));
  }
}

TEST(PoolLayout, RefusesAnEmptyWindowAndOneThatLeaves63Bits) {
  EXPECT_TRUE(IsInvalidArgument(Layout(2, 0, 0).Validate()));
  constexpr std::uint64_t kEnd = 1ULL << 63;
  EXPECT_TRUE(Layout(2, 0, 2_MiB, kEnd - 4_MiB).Validate().ok());
  EXPECT_TRUE(IsInvalidArgument(Layout(2, 0, 2_MiB, kEnd - 2_MiB).Validate()));
  EXPECT_TRUE(IsInvalidArgument(Layout(2, 0, 2_MiB, UINT64_MAX - 1_MiB).Validate()));
}

TEST(PoolLayout, WindowsAbove48BitsAreLocatedToo) {
  PoolLayout layout = Layout(1024, 64_GiB, 2_TiB, kRegion56Begin);
  ASSERT_TRUE(layout.Validate().ok());
  std::uint64_t last = layout.base + layout.WindowBytes() - 1;
  EXPECT_EQ(layout.Locate({last}), (SlotOffset{Zone::kHost, 1023, 2_TiB - 1}));
  EXPECT_LE(last, kRegion56End);
}

TEST(PoolLayout, SaysWhatFits) {
  PoolLayout layout = Layout(8, 2_GiB, 6_GiB);
  EXPECT_EQ(
      layout.WhatFits(33_GiB),
      "4 ranks of 8 GiB, or 8 ranks of at most 4224 MiB (host and device together) would fit");
  EXPECT_EQ(layout.WhatFits(4_GiB),
            "8 ranks of at most 512 MiB (host and device together) would fit");
  EXPECT_EQ(layout.WhatFits(8_MiB), "no pool would fit");
}

}  // namespace
}  // namespace memfabric
