#include "copy/reach.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "copy/test_pool.h"

namespace memfabric::copy {
namespace {

using testing::HasSubstr;

class ReachTest : public testing::Test {
 protected:
  Reach reach_{PoolLayout{1_GiB, 3, {2_MiB, 4_MiB}}, nullptr};
};

TEST_F(ReachTest, NobodyIsReachedAtFirst) {
  EXPECT_EQ(reach_.MappedBytes(Zone::kHost, 2), 0U);
  EXPECT_EQ(reach_.LinkOf(2), nullptr);
  EXPECT_TRUE(IsDisconnected(reach_.WhyNot(2)));
  EXPECT_THAT(reach_.WhyNot(2).message(), HasSubstr("rank 2"));
}

TEST_F(ReachTest, ARankIsMappedOrHasALinkOrNeither) {
  auto link = std::make_shared<LinkDouble>(1, transport::ZoneBytes{0, 2_MiB}, 1);
  reach_.SetMapped(1, {2_MiB, 4_MiB});
  EXPECT_EQ(reach_.MappedBytes(Zone::kDevice, 1), 2_MiB);
  EXPECT_EQ(reach_.MappedBytes(Zone::kHost, 1), 4_MiB);
  EXPECT_EQ(reach_.MappedBytes(Zone::kHost, 0), 0U);
  reach_.SetLink(1, link);
  EXPECT_EQ(reach_.MappedBytes(Zone::kHost, 1), 0U);
  EXPECT_EQ(reach_.LinkOf(1), link);
  EXPECT_TRUE(reach_.WhyNot(1).ok());
  reach_.SetMapped(1, {0, 2_MiB});
  EXPECT_EQ(reach_.LinkOf(1), nullptr);
  EXPECT_EQ(link.use_count(), 1);
}

TEST_F(ReachTest, ClosingDropsTheLinkAndKeepsTheReason) {
  auto link = std::make_shared<LinkDouble>(0, transport::ZoneBytes{0, 2_MiB}, 1);
  reach_.SetLink(0, link);
  reach_.Close(0, Disconnected("was killed"));
  EXPECT_EQ(link.use_count(), 1);
  EXPECT_EQ(reach_.WhyNot(0).message(), "rank 0: was killed");
  reach_.Close(0, Ok());
  EXPECT_TRUE(IsDisconnected(reach_.WhyNot(0)));
  EXPECT_THAT(reach_.WhyNot(0).message(), HasSubstr("has left"));
  reach_.CloseAll(Reconnect("was given up"));
  for (Rank rank = 0; rank < 3; ++rank) EXPECT_TRUE(IsReconnect(reach_.WhyNot(rank)));
}

}  // namespace
}  // namespace memfabric::copy
