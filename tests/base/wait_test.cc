#include "base/wait.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace memfabric {
namespace {

using namespace std::chrono_literals;

int checks_before_interrupt = 0;

int CountDown() { return --checks_before_interrupt <= 0; }
int Never() { return 0; }

Deadline In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }
constexpr auto kLong = 60s;  // never reached unless something is broken

bool Held(Mutex& mutex) {
  bool free = false;
  std::thread([&] {
    if (!mutex.TryLock()) return;
    free = true;
    mutex.Unlock();
  }).join();
  return !free;
}

struct WaitTest : ::testing::Test {
  void TearDown() override { SetInterruptCheck(nullptr); }

  Mutex mutex_;
  CondVar changed_;
  bool done_ GUARDED_BY(mutex_) = false;
};

TEST_F(WaitTest, EndsAtOnceWhenItIsDone) {
  MutexLock lock(mutex_);
  EXPECT_TRUE(WaitUntil(mutex_, changed_, In(-1s), [] { return true; }).ok());
  EXPECT_TRUE(Held(mutex_));
}

TEST_F(WaitTest, EndsWhenAnotherThreadSaysSo) {
  for (InterruptCheck check : {InterruptCheck{nullptr}, InterruptCheck{Never}}) {
    SetInterruptCheck(check);
    MutexLock lock(mutex_);
    done_ = false;
    std::thread other([this] {
      MutexLock own(mutex_);
      done_ = true;
      changed_.NotifyAll();
    });
    EXPECT_TRUE(
        WaitUntil(mutex_, changed_, In(kLong), [this]() REQUIRES(mutex_) { return done_; }).ok());
    EXPECT_TRUE(Held(mutex_));
    lock.Unlock();
    other.join();
  }
}

TEST_F(WaitTest, EndsAtItsDeadlineAndNotBefore) {
  for (InterruptCheck check : {InterruptCheck{nullptr}, InterruptCheck{Never}}) {
    SetInterruptCheck(check);
    MutexLock lock(mutex_);
    Deadline deadline = In(120ms);
    EXPECT_TRUE(IsDeadlineExceeded(WaitUntil(mutex_, changed_, deadline, [] { return false; })));
    EXPECT_GE(std::chrono::steady_clock::now(), deadline);
    EXPECT_TRUE(Held(mutex_));
  }
}

TEST_F(WaitTest, EndsWhenTheThreadsCheckAsksForIt) {
  checks_before_interrupt = 2;
  SetInterruptCheck(CountDown);
  MutexLock lock(mutex_);
  EXPECT_TRUE(IsInterrupted(WaitUntil(mutex_, changed_, In(kLong), [] { return false; })));
  EXPECT_EQ(checks_before_interrupt, 0);
  EXPECT_TRUE(Held(mutex_));
}

TEST_F(WaitTest, WhatGotDoneDuringTheCheckIsDone) {
  static WaitTest* self;
  self = this;
  SetInterruptCheck([] {
    MutexLock own(self->mutex_);  // the check runs without the lock
    self->done_ = true;
    return 1;
  });
  MutexLock lock(mutex_);
  EXPECT_TRUE(
      WaitUntil(mutex_, changed_, In(kLong), [this]() REQUIRES(mutex_) { return done_; }).ok());
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
  MutexLock lock(mutex_);
  TimePoint until = clock.Now() + 20ms;
  while (clock.Now() < until) clock.WaitUntil(mutex_, changed_, until);
  std::thread other([this] {
    MutexLock own(mutex_);
    done_ = true;
    changed_.NotifyAll();
  });
  TimePoint bound = clock.Now() + kLong;
  while (!done_ && clock.Now() < bound) clock.WaitUntil(mutex_, changed_, bound);
  EXPECT_TRUE(done_);
  lock.Unlock();
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
