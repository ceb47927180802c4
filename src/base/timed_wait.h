// base/timed_wait.h: the one way in which this library waits on a condition variable for a limited
// time.
//
// What is left is measured by steady_clock, and waited for by the kernel's own clock: where a
// program's clocks are moved (libfaketime), the kernel's isn't, and to name it a moment of the
// moved one is to wait for an hour, or ten years.
//
// Threads: any.

#pragma once

#include <condition_variable>
#include <mutex>

#include "base/clock.h"

namespace memfabric {

// Waits until `changed` is notified, or `until`; may wake early. REQUIRES: `lock` is held.
void WaitOn(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, TimePoint until);

}  // namespace memfabric
