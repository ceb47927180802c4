// base/clock.h: time as a dependency, so that tests can turn it by hand
// (tests/support/fake_clock.h).
//
// Threads: every function may be called from any thread.

#pragma once

#include <chrono>

#include "base/mutex.h"

namespace memfabric {

using TimePoint = std::chrono::steady_clock::time_point;
using Deadline = TimePoint;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  // Waits on `changed` until it is notified or Now() >= `until`; may wake early.
  virtual void WaitUntil(Mutex& mutex, CondVar& changed, TimePoint until) REQUIRES(mutex) = 0;
};

// A deadline that is `timeout` away, at most 10 ms later: by the kernel's last tick, which takes a
// few nanoseconds to read where the time itself takes twenty.
Deadline CoarseDeadline(std::chrono::nanoseconds timeout);

// The machine's monotonic clock; lives as long as the process.
Clock& SteadyClock();

}  // namespace memfabric
