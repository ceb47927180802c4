#include "base/backoff.h"

#include <gtest/gtest.h>

#include <set>

namespace memfabric {
namespace {

using namespace std::chrono_literals;

TEST(BackoffTest, DoublesUpToTheLongestAndNeverWaitsLessThanHalf) {
  for (std::uint32_t seed = 1; seed < 100; ++seed) {
    Backoff backoff(500ms, 8000ms, seed);
    for (auto longest : {500ms, 1000ms, 2000ms, 4000ms, 8000ms, 8000ms, 8000ms}) {
      auto wait = backoff.Next();
      EXPECT_LE(wait, longest) << seed;
      EXPECT_GE(wait, longest / 2) << seed;
    }
  }
}

TEST(BackoffTest, SpreadsThoseThatFailTogether) {
  std::set<std::chrono::milliseconds> waits;
  for (std::uint32_t seed = 1; seed <= 128; ++seed)
    waits.insert(Backoff(1000ms, 8000ms, seed * 7919).Next());
  EXPECT_GT(waits.size(), 64U);
}

TEST(BackoffTest, TheSameRandomInputGivesTheSameWaits) {
  Backoff one(20ms, 500ms, 42);
  Backoff other(20ms, 500ms, 42);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(one.Next(), other.Next());
}

TEST(BackoffTest, BeginsAnewOnceItHasWorked) {
  Backoff backoff(500ms, 8000ms, 1);
  for (int i = 0; i < 10; ++i) backoff.Next();
  backoff.Reset();
  EXPECT_LE(backoff.Next(), 500ms);
}

TEST(BackoffTest, TheShortestWaitIsNoWaitOfNothing) {
  Backoff backoff(1ms, 1ms, 3);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(backoff.Next(), 1ms);
}

}  // namespace
}  // namespace memfabric
