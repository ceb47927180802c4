#include "copy/slot_finder.h"

#include <gtest/gtest.h>

#include <random>

#include "base/units.h"

namespace memfabric::copy {
namespace {

class SlotFinderTest : public testing::TestWithParam<PoolLayout> {};

// By dividing, as the layout's picture says.
SlotOffset Divided(const PoolLayout& layout, std::uint64_t offset) {
  std::uint64_t device = layout.ZoneBytes(Zone::kDevice);
  if (offset < device) {
    std::uint64_t max = layout.max_bytes[Index(Zone::kDevice)];
    return {Zone::kDevice, static_cast<Rank>(offset / max), offset % max};
  }
  std::uint64_t max = layout.max_bytes[Index(Zone::kHost)];
  return {Zone::kHost, static_cast<Rank>((offset - device) / max), (offset - device) % max};
}

TEST_P(SlotFinderTest, FindsWhatADivisionFinds) {
  const PoolLayout& layout = GetParam();
  SlotFinder finder(layout);
  for (Zone zone : kAllZones) {
    std::uint64_t max = layout.max_bytes[Index(zone)];
    if (max == 0) continue;
    for (Rank rank = 0; rank < layout.world_size; ++rank) {
      std::uint64_t begin = layout.SlotBegin(zone, rank);
      for (std::uint64_t offset : {begin, begin + 1, begin + max / 2, begin + max - 1}) {
        ASSERT_EQ(finder.Find(offset), Divided(layout, offset)) << offset;
      }
    }
  }
  std::mt19937_64 random(11);
  for (int i = 0; i < 20000; ++i) {
    std::uint64_t offset = random() % layout.WindowBytes();
    ASSERT_EQ(finder.Find(offset), Divided(layout, offset)) << offset;
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, SlotFinderTest,
                         testing::Values(PoolLayout{0, 1, {0, 2_MiB}}, PoolLayout{0, 1, {2_MiB, 0}},
                                         PoolLayout{0, 2, {4_MiB, 6_MiB}},
                                         PoolLayout{0, 7, {10_MiB, 14_MiB}},
                                         PoolLayout{0, 1024, {64_GiB, 2_TiB}},
                                         PoolLayout{0, 1023, {62_MiB, 2_TiB - 2_MiB}},
                                         PoolLayout{0, 1000, {64_GiB - 2_MiB, 514_MiB}},
                                         // No real pool, but the division is there for them.
                                         PoolLayout{0, 3, {4099, (1ULL << 61) - 1}}));

}  // namespace
}  // namespace memfabric::copy
