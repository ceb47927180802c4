// tests/support/fake_clock.h: a Clock that a test turns by hand.
//
// Threads: any. Advance() wakes those who wait, and returns at once; what waits must outlive the
// call.

#pragma once

#include <chrono>
#include <compare>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/wait.h"

namespace memfabric {

class FakeClock final : public Clock {
 public:
  TimePoint Now() const override {
    MutexLock lock(mutex_);
    return now_;
  }

  void WaitUntil(Mutex& mutex, CondVar& changed, TimePoint until) override REQUIRES(mutex) {
    {
      MutexLock own(mutex_);
      if (now_ >= until) return;
      waits_.insert({until, &mutex, &changed});
      waits_changed_.NotifyAll();
    }
    changed.Wait(mutex);
    MutexLock own(mutex_);
    waits_.erase(waits_.find({until, &mutex, &changed}));
  }

  // Turns the clock, and wakes every wait whose time has come.
  void Advance(std::chrono::nanoseconds by) {
    std::set<std::pair<Mutex*, CondVar*>> due;
    {
      MutexLock own(mutex_);
      now_ += by;
      for (const Wait& wait : waits_)
        if (wait.until <= now_) due.insert({wait.mutex, wait.changed});
    }
    for (auto [mutex, changed] : due) {
      // Between being counted and sleeping the waiter holds its mutex, so that this can't come too
      // early.
      MutexLock theirs(*mutex);
      changed->NotifyAll();
    }
  }

  // True once somebody waits for a time up to `until` (so that a test can advance to it); false
  // after `bound` of real time.
  bool AwaitWaiter(TimePoint until, std::chrono::milliseconds bound = std::chrono::seconds(10)) {
    MutexLock own(mutex_);
    return memfabric::WaitUntil(
               mutex_, waits_changed_, std::chrono::steady_clock::now() + bound,
               [&]() REQUIRES(mutex_) { return !waits_.empty() && waits_.begin()->until <= until; })
        .ok();
  }

 private:
  struct Wait {
    TimePoint until;
    Mutex* mutex;
    CondVar* changed;
    auto operator<=>(const Wait&) const = default;
  };

  mutable Mutex mutex_;
  CondVar waits_changed_;
  TimePoint now_ GUARDED_BY(mutex_){std::chrono::hours(1)};
  std::multiset<Wait> waits_ GUARDED_BY(mutex_);  // in order of their times
};

}  // namespace memfabric
