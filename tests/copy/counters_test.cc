// What has been copied is counted at each rank that it touched, by the path it took.

#include "copy/counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <thread>

#include "copy/engine.h"
#include "copy/test_pool.h"

namespace memfabric::copy {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> Read(const Counters& counters) {
  std::vector<std::string> lines;
  for (const auto& [rank, path, counts] : counters.Read())
    lines.push_back(fmt::format("{} {} {} {} {} {}", rank, path, counts.bytes, counts.operations,
                                counts.errors, counts.retries));
  return lines;
}

class CountersTest : public testing::Test {
 protected:
  Status Copy(std::uint64_t source, std::uint64_t destination, std::uint64_t size_bytes) {
    return engine_.Copy({source, destination, size_bytes}, Direction::kAuto);
  }
  std::uint64_t Host(Rank rank, std::uint64_t offset = 0) {
    return pool_.Address(Zone::kHost, rank, offset);
  }
  std::uint64_t local() { return AddressOf(memory_.data()); }

  TestPool pool_{MixedPool()};
  ThreadTeam team_{1};
  CopyEngine engine_{pool_.reach(), &team_, 1s};
  Counters& counters_ = pool_.reach().counters();
  std::vector<std::byte> memory_ = std::vector<std::byte>(8_MiB);
};

TEST_F(CountersTest, MappedCopiesOfEverySize) {
  EXPECT_THAT(Read(counters_), IsEmpty());
  ASSERT_TRUE(Copy(local(), Host(0), 8).ok());
  ASSERT_TRUE(Copy(Host(1), local(), 4_MiB).ok());           // over the team
  ASSERT_TRUE(Copy(Host(0, 64), Host(1, 128), 100).ok());    // at both
  ASSERT_TRUE(Copy(local(), Host(0, 6_MiB - 10), 30).ok());  // across two slots
  EXPECT_THAT(Read(counters_),
              ElementsAre("0 mapped 118 3 0 0", fmt::format("1 mapped {} 3 0 0", 4_MiB + 120)));
}

TEST_F(CountersTest, CopiesThroughLinks) {
  ASSERT_TRUE(Copy(local(), Host(3), 1000).ok());
  ASSERT_TRUE(Copy(Host(3), Host(4), 500).ok());  // through a buffer of this process
  ASSERT_TRUE(Copy(Host(0), Host(3), 7).ok());    // from a mapped one
  EXPECT_THAT(Read(counters_),
              ElementsAre("0 mapped 7 1 0 0", "3 double 1507 3 0 0", "4 double 500 1 0 0"));
}

TEST_F(CountersTest, BatchesByElementHoweverTheyAreSplit) {
  constexpr std::size_t kElements = 7;
  std::vector<std::uint64_t> sources(kElements, local()), destinations, sizes(kElements, 512_KiB);
  for (std::size_t i = 0; i < kElements; ++i) destinations.push_back(Host(i % 2, i / 2 * 512_KiB));
  // in parts of a MiB
  ASSERT_TRUE(engine_.CopyBatch({sources, destinations, sizes}, Direction::kH2G).ok());
  EXPECT_THAT(Read(counters_), ElementsAre(fmt::format("0 mapped {} 4 0 0", 2_MiB),
                                           fmt::format("1 mapped {} 3 0 0", 3 * 512_KiB)));
  destinations[3] = Host(3);
  ASSERT_TRUE(engine_.CopyBatch({sources, destinations, sizes}, Direction::kH2G).ok());
  EXPECT_THAT(Read(counters_), ElementsAre(fmt::format("0 mapped {} 8 0 0", 4_MiB),
                                           fmt::format("1 mapped {} 5 0 0", 5 * 512_KiB),
                                           fmt::format("3 double {} 1 0 0", 512_KiB)));
}

TEST_F(CountersTest, FailuresCountAsErrorsAndMoveNoBytes) {
  pool_.link(3).FailRequestsFrom(0, Disconnected("gone"));
  pool_.link(3).FailFlushes(Disconnected("gone"));
  EXPECT_TRUE(IsDisconnected(Copy(local(), Host(3), 8)));
  EXPECT_TRUE(IsDisconnected(Copy(local(), Host(5), 8)));  // nobody there
  EXPECT_TRUE(IsInvalidArgument(Copy(local(), Host(0), 0)));
  EXPECT_THAT(Read(counters_), ElementsAre("3 double 0 0 1 0", "5 none 0 0 1 0"));
}

TEST_F(CountersTest, ThreadsLoseNone) {
  constexpr int kThreads = 12, kCopies = 2000;  // more threads than stripes
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < kCopies; ++n)
        EXPECT_TRUE(Copy(local() + 64 * i, Host(1, 64 * i), 8).ok());
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(Read(counters_), ElementsAre(fmt::format("1 mapped {} {} 0 0", 8 * kThreads * kCopies,
                                                       kThreads * kCopies)));
}

}  // namespace
}  // namespace memfabric::copy
