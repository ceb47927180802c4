// base/wait.h: how a caller's thread waits. Every wait of a public call goes through here, so that each has a bound and each
// ends soon after a signal that its language wants to handle (Python's Ctrl-C).
//
// The check is the thread's own: a binding installs it for the thread that handles signals; it returns true once the wait
// shall end. It is called from this thread only, without a lock of ours, at most every kInterruptPeriod.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>

#include "base/clock.h"
#include "base/status.h"

namespace memfabric {

constexpr std::chrono::milliseconds kInterruptPeriod{50};

using InterruptCheck = int (*)();

// Installs (or with nullptr removes) this thread's check; returns the former one.
InterruptCheck SetInterruptCheck(InterruptCheck check);

// For as long as it lives, this thread's waits also end soon after `flag` has become true: how a call in one thread is ended by
// another one that destroys what it works on. Scopes nest; every flag counts.
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

// True when this thread's check or a cancel scope says that the call shall end. REQUIRES: no lock held that a signal handler
// could want.
bool InterruptRequested();

// Waits until `done()` (called with `lock` held), the deadline (DeadlineExceeded; the caller adds what it waited for) or an
// interrupt (Interrupted). Real time: for the waits of callers, not for logic that tests turn by a fake clock.
Status WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Deadline deadline,
                 const std::function<bool()>& done);

// Sleeps until the deadline or an interrupt; for back-off between tries of a caller's thread.
Status PauseUntil(Deadline deadline);

}  // namespace memfabric
