// base/wait.h: how a caller's thread waits. Every wait of a public call goes through here, so that
// each has a bound and each ends soon after a signal that its language wants to handle (Python's
// Ctrl-C).
//
// The check is the thread's own: a binding installs it for the thread that handles signals; it
// returns true once the wait shall end. It is called from this thread only, without a lock of ours,
// at most every kInterruptPeriod.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"

namespace memfabric {

constexpr std::chrono::milliseconds kInterruptPeriod{50};

// How long a wait may take: to `end` at most, and no longer than `idle` without progress. A slow
// network isn't dead, and a long transfer isn't late.
struct Bound {
  Deadline end = TimePoint::max();
  std::chrono::nanoseconds idle = std::chrono::nanoseconds::max();

  Bound(Deadline at_most)
      : end(at_most) {
  }  // NOLINT(google-explicit-constructor): most waits have no more than a deadline
  static Bound WithoutProgress(std::chrono::nanoseconds idle) {
    Bound bound(TimePoint::max());
    bound.idle = idle;
    return bound;
  }
};

// One wait within a Bound, on one thread. Whoever waits looks from time to time at a count that
// rises with progress.
class ProgressWatch {
 public:
  ProgressWatch(const Bound& bound, TimePoint now) : bound_(bound), last_(now) {}

  // When the wait is over unless something moves before.
  Deadline deadline() const {
    return bound_.idle < bound_.end - last_ ? last_ + bound_.idle : bound_.end;
  }
  void Look(TimePoint now, std::int64_t progress);
  bool IsOver(TimePoint now, std::int64_t progress);
  std::string why() const;  // REQUIRES: it is over

 private:
  Bound bound_;
  TimePoint last_;
  std::optional<std::int64_t> progress_;  // the most
};

// Bounds this thread's public calls from now on, beside whatever else bounds them: the time-out
// that their caller gave. TimePoint::max(): none, as for threads of ours.
void SetCallDeadline(Deadline deadline);
Deadline CallDeadline();

using InterruptCheck = int (*)();

// Installs (or with nullptr removes) this thread's check; returns the former one.
InterruptCheck SetInterruptCheck(InterruptCheck check);

// While it lives, this thread's waits also end soon after `flag` has become true. So a thread that
// destroys an object ends the calls of others on it. Scopes nest; every flag counts.
class CancelScope {
 public:
  explicit CancelScope(const std::atomic<bool>& flag);
  ~CancelScope();
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

 private:
  friend bool InterruptRequested();
  const std::atomic<bool>& flag_;
  const CancelScope* outer_;
};

// True when this thread's check or a cancel scope says that the call shall end. REQUIRES: no lock
// held that a signal handler could want.
bool InterruptRequested();

// Waits until `done()` (called with the mutex held), the deadline (DeadlineExceeded; the caller
// adds what it waited for) or an interrupt (Interrupted). Real time: for the waits of callers, not
// for logic that tests turn by a fake clock.
Status WaitUntil(Mutex& mutex, CondVar& changed, Deadline deadline,
                 const std::function<bool()>& done) REQUIRES(mutex);
Status WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                 Deadline deadline, const std::function<bool()>& done);

// Sleeps until the deadline or an interrupt; for back-off between tries of a caller's thread.
Status PauseUntil(Deadline deadline);

}  // namespace memfabric
