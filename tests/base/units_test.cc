#include "base/units.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace memfabric {
namespace {

TEST(Units, ArePowersOfTwo) {
  EXPECT_EQ(1_KiB, 1024u);
  EXPECT_EQ(2_MiB, 2097152u);
  EXPECT_EQ(3_GiB, 3221225472u);
  EXPECT_EQ(2_TiB, std::uint64_t{1} << 41);
}

TEST(Units, TextIsExact) {
  EXPECT_EQ(SizeText(0), "0 bytes");
  EXPECT_EQ(SizeText(17), "17 bytes");
  EXPECT_EQ(SizeText(1_KiB), "1 KiB");
  EXPECT_EQ(SizeText(2_MiB), "2 MiB");
  EXPECT_EQ(SizeText(2_MiB + 1), "2097153 bytes");
  EXPECT_EQ(SizeText(2_MiB - 1), "2097151 bytes");
  EXPECT_EQ(SizeText(1536_MiB), "1.50 GiB");
  EXPECT_EQ(SizeText(64_GiB), "64 GiB");
  EXPECT_EQ(SizeText(2_TiB), "2 TiB");
  EXPECT_EQ(SizeText(UINT64_MAX), "18446744073709551615 bytes");
}

TEST(Units, Multiples) {
  EXPECT_TRUE(IsMultipleOf(0, kHugePageBytes));
  EXPECT_TRUE(IsMultipleOf(6_MiB, kHugePageBytes));
  EXPECT_FALSE(IsMultipleOf(3_MiB, kHugePageBytes));
}

}  // namespace
}  // namespace memfabric
