// tests/support/fake_clock.h: a Clock that a test turns by hand.
//
// Threads: any. Advance() wakes those who wait, and returns at once; what waits must outlive the
// call.

#pragma once

#include <chrono>
#include <compare>
#include <condition_variable>
#include <mutex>
#include <set>
#include <utility>

#include "base/clock.h"

namespace memfabric {

class FakeClock final : public Clock {
 public:
  TimePoint Now() const override {
    std::lock_guard lock(mutex_);
    return now_;
  }

  void WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                 TimePoint until) override {
    {
      std::lock_guard own(mutex_);
      if (now_ >= until) return;
      waits_.insert({until, lock.mutex(), &changed});
      waits_changed_.notify_all();
    }
    changed.wait(lock);
    std::lock_guard own(mutex_);
    waits_.erase(waits_.find({until, lock.mutex(), &changed}));
  }

  // Turns the clock, and wakes every wait whose time has come.
  void Advance(std::chrono::nanoseconds by) {
    std::set<std::pair<std::mutex*, std::condition_variable*>> due;
    {
      std::lock_guard own(mutex_);
      now_ += by;
      for (const Wait& wait : waits_)
        if (wait.until <= now_) due.insert({wait.mutex, wait.changed});
    }
    for (auto [mutex, changed] : due) {
      // Between being counted and sleeping the waiter holds its mutex, so that this can't come too
      // early.
      std::lock_guard theirs(*mutex);
      changed->notify_all();
    }
  }

  // True once somebody waits for a time up to `until` (so that a test can advance to it); false
  // after `bound` of real time.
  bool AwaitWaiter(TimePoint until, std::chrono::milliseconds bound = std::chrono::seconds(10)) {
    std::unique_lock own(mutex_);
    return waits_changed_.wait_for(
        own, bound, [&] { return !waits_.empty() && waits_.begin()->until <= until; });
  }

 private:
  struct Wait {
    TimePoint until;
    std::mutex* mutex;
    std::condition_variable* changed;
    auto operator<=>(const Wait&) const = default;
  };

  mutable std::mutex mutex_;
  std::condition_variable waits_changed_;
  TimePoint now_{std::chrono::hours(1)};
  std::multiset<Wait> waits_;  // in order of their times
};

}  // namespace memfabric
