// Links that fail: the error comes out, and nothing that a link may still use goes away.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "copy/engine.h"
#include "copy/test_pool.h"

namespace memfabric::copy {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class LinksTest : public testing::Test {
 protected:
  TestPool pool_{MixedPool()};
  CopyEngine engine_{pool_.reach(), nullptr, 1s};
};

TEST_F(LinksTest, AFailedRequestIsTheErrorAndWhatWasBegunIsFlushed) {
  std::vector<std::byte> local(5_MiB);
  pool_.link(3).FailRequestsFrom(0, Disconnected("the connection broke"));
  Status status = engine_.Copy({AddressOf(local.data()), pool_.Address(Zone::kHost, 3), 5_MiB},
                               Direction::kH2G);
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("rank 3: the connection broke"));
  EXPECT_EQ(pool_.link(3).unflushed(), 0U);

  // From the third of five pieces on, through the buffer.
  pool_.link(3).FailRequestsFrom(2, Disconnected("the connection broke"));
  std::size_t flushes = pool_.link(4).flushes();
  status = engine_.Copy({pool_.Address(Zone::kHost, 3), pool_.Address(Zone::kHost, 4), 2_MiB},
                        Direction::kG2G);
  EXPECT_TRUE(status.ok()) << status;
  status = engine_.Copy({pool_.Address(Zone::kHost, 3), pool_.Address(Zone::kHost, 4), 2_MiB},
                        Direction::kG2G);
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_GT(pool_.link(4).flushes(), flushes);
  EXPECT_EQ(pool_.link(4).unflushed() + pool_.link(3).unflushed(), 0U);
}

TEST_F(LinksTest, AnErrorOnOneLinkStillFlushesTheOthers) {
  std::vector<std::byte> local = RandomBytes(64_KiB, 4);
  std::vector<std::uint64_t> sources{AddressOf(local.data()), AddressOf(local.data())};
  std::vector<std::uint64_t> destinations{pool_.Address(Zone::kHost, 4),
                                          pool_.Address(Zone::kHost, 3)};
  std::vector<std::uint64_t> sizes{1000, 1000};
  pool_.link(3).FailRequestsFrom(0, Disconnected("gone"));
  Status status = engine_.CopyBatch({sources, destinations, sizes}, Direction::kH2G);
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_EQ(pool_.link(4).unflushed(), 0U);
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 4), local.data(), 1000), 0);
}

TEST_F(LinksTest, ABufferThatALinkMayStillUseStays) {
  // The flush of the source fails while its get into the buffer is pending; it moves later, when
  // the link recovers. A sanitizer tells if the buffer had gone.
  pool_.link(3).FailFlushes(DeadlineExceeded("still waiting"));
  Status status = engine_.Copy(
      {pool_.Address(Zone::kHost, 3), pool_.Address(Zone::kHost, 4), 2_MiB}, Direction::kG2G);
  EXPECT_TRUE(IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("rank 3"));
  EXPECT_GT(pool_.link(3).unflushed(), 0U);
  pool_.link(3).FailFlushes(Ok());
  EXPECT_TRUE(pool_.link(3).Flush(Deadline::max()).ok());
}

TEST_F(LinksTest, AClosedLinkIsDisconnected) {
  std::uint64_t value = 1;
  pool_.reach().Close(3, Disconnected("was killed"));
  Status status =
      engine_.Copy({AddressOf(&value), pool_.Address(Zone::kHost, 3), 8}, Direction::kH2G);
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("rank 3: was killed"));
}

}  // namespace
}  // namespace memfabric::copy
