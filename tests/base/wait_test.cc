#include "base/wait.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace memfabric {
namespace {

using namespace std::chrono_literals;

int checks_before_interrupt = 0;

int CountDown() { return --checks_before_interrupt <= 0; }
int Never() { return 0; }

Deadline In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }
constexpr auto kLong = 60s;  // never reached unless something is broken

struct WaitTest : ::testing::Test {
  void TearDown() override { SetInterruptCheck(nullptr); }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

TEST_F(WaitTest, EndsAtOnceWhenItIsDone) {
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(WaitUntil(lock, changed_, In(-1s), [] { return true; }).ok());
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(WaitTest, EndsWhenAnotherThreadSaysSo) {
  for (InterruptCheck check : {InterruptCheck{nullptr}, InterruptCheck{Never}}) {
    SetInterruptCheck(check);
    done_ = false;
    std::unique_lock lock(mutex_);
    std::thread other([this] {
      std::lock_guard own(mutex_);
      done_ = true;
      changed_.notify_all();
    });
    EXPECT_TRUE(WaitUntil(lock, changed_, In(kLong), [this] { return done_; }).ok());
    EXPECT_TRUE(lock.owns_lock());
    lock.unlock();
    other.join();
  }
}

TEST_F(WaitTest, EndsAtItsDeadlineAndNotBefore) {
  for (InterruptCheck check : {InterruptCheck{nullptr}, InterruptCheck{Never}}) {
    SetInterruptCheck(check);
    std::unique_lock lock(mutex_);
    Deadline deadline = In(120ms);
    EXPECT_TRUE(IsDeadlineExceeded(WaitUntil(lock, changed_, deadline, [] { return false; })));
    EXPECT_GE(std::chrono::steady_clock::now(), deadline);
    EXPECT_TRUE(lock.owns_lock());
  }
}

TEST_F(WaitTest, EndsWhenTheThreadsCheckAsksForIt) {
  checks_before_interrupt = 2;
  SetInterruptCheck(CountDown);
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(IsInterrupted(WaitUntil(lock, changed_, In(kLong), [] { return false; })));
  EXPECT_EQ(checks_before_interrupt, 0);
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(WaitTest, WhatGotDoneDuringTheCheckIsDone) {
  static WaitTest* self;
  self = this;
  SetInterruptCheck([] {
    std::lock_guard own(self->mutex_);  // the check runs without the lock
    self->done_ = true;
    return 1;
  });
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(WaitUntil(lock, changed_, In(kLong), [this] { return done_; }).ok());
}

TEST_F(WaitTest, TheCheckIsOneThreadsOwn) {
  EXPECT_EQ(SetInterruptCheck(Never), nullptr);
  EXPECT_FALSE(InterruptRequested());
  checks_before_interrupt = 1;
  EXPECT_EQ(SetInterruptCheck(CountDown), Never);
  std::thread([] {
    EXPECT_FALSE(InterruptRequested());
    EXPECT_EQ(SetInterruptCheck(nullptr), nullptr);
  }).join();
  EXPECT_TRUE(InterruptRequested());
}

TEST_F(WaitTest, PausesUntilTheDeadlineOrAnInterrupt) {
  Deadline deadline = In(120ms);
  EXPECT_TRUE(PauseUntil(deadline).ok());
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
  EXPECT_TRUE(PauseUntil(In(-1s)).ok());
  checks_before_interrupt = 2;
  SetInterruptCheck(CountDown);
  EXPECT_TRUE(IsInterrupted(PauseUntil(In(kLong))));
}

TEST_F(WaitTest, SteadyClockWaitsForTimeAndForWord) {
  Clock& clock = SteadyClock();
  EXPECT_EQ(&clock, &SteadyClock());
  std::unique_lock lock(mutex_);
  TimePoint until = clock.Now() + 20ms;
  while (clock.Now() < until) clock.WaitUntil(lock, changed_, until);
  std::thread other([this] {
    std::lock_guard own(mutex_);
    done_ = true;
    changed_.notify_all();
  });
  TimePoint bound = clock.Now() + kLong;
  while (!done_ && clock.Now() < bound) clock.WaitUntil(lock, changed_, bound);
  EXPECT_TRUE(done_);
  lock.unlock();
  other.join();
}

TEST(ProgressWatchTest, EndsWhenNothingHasMovedForLong) {
  const TimePoint begin{};
  ProgressWatch watch(Bound::WithoutProgress(10s), begin);
  EXPECT_EQ(watch.deadline(), begin + 10s);
  watch.Look(begin + 1s, 5);
  watch.Look(begin + 9s, 6);
  EXPECT_EQ(watch.deadline(), begin + 19s);
  EXPECT_FALSE(watch.IsOver(begin + 18s, 6));
  EXPECT_FALSE(watch.IsOver(begin + 19s, 7));
  // less than before is no progress, nor is as much again
  EXPECT_FALSE(watch.IsOver(begin + 24s, 6));
  EXPECT_FALSE(watch.IsOver(begin + 28s, 7));
  EXPECT_TRUE(watch.IsOver(begin + 29s, 7));
  EXPECT_EQ(watch.why(), "nothing has moved for 10 s");
}

TEST(ProgressWatchTest, ADeadlineIsOneWhateverMoves) {
  const TimePoint begin{};
  Bound bound(begin + 3s);
  bound.idle = 2s;
  ProgressWatch watch(bound, begin);
  watch.Look(begin, 0);
  EXPECT_FALSE(watch.IsOver(begin + 2s, 1));
  EXPECT_EQ(watch.deadline(), begin + 3s);
  EXPECT_TRUE(watch.IsOver(begin + 3s, 2));
  EXPECT_EQ(watch.why(), "the deadline has passed");
  EXPECT_EQ(ProgressWatch(TimePoint::max(), begin).deadline(), TimePoint::max());
}

TEST(CallDeadlineTest, IsTheThreadsOwn) {
  SetCallDeadline(In(1s));
  EXPECT_LT(CallDeadline(), In(2s));
  std::thread([] { EXPECT_EQ(CallDeadline(), TimePoint::max()); }).join();
  SetCallDeadline(TimePoint::max());
  EXPECT_EQ(CallDeadline(), TimePoint::max());
}

}  // namespace
}  // namespace memfabric
