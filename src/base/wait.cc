#include "base/wait.h"

#include <algorithm>
#include <thread>

#include "base/timed_wait.h"

namespace memfabric {
namespace {

thread_local InterruptCheck interrupt_check = nullptr;
thread_local const CancelScope* innermost_scope = nullptr;
thread_local Deadline call_deadline = TimePoint::max();

bool CanBeInterrupted() { return interrupt_check != nullptr || innermost_scope != nullptr; }

}  // namespace

void ProgressWatch::Look(TimePoint now, std::int64_t progress) {
  if (progress_.has_value() && progress <= *progress_) return;
  if (progress_.has_value()) last_ = now;
  progress_ = progress;
}

bool ProgressWatch::IsOver(TimePoint now, std::int64_t progress) {
  Look(now, progress);
  return now >= deadline();
}

std::string ProgressWatch::why() const {
  if (deadline() == bound_.end) return "the deadline has passed";
  return fmt::format("nothing has moved for {} s",
                     std::chrono::duration<double>(bound_.idle).count());
}

void SetCallDeadline(Deadline deadline) { call_deadline = deadline; }

Deadline CallDeadline() { return call_deadline; }

CancelScope::CancelScope(const std::atomic<bool>& flag)
    : flag_(flag), outer_(std::exchange(innermost_scope, this)) {}

CancelScope::~CancelScope() { innermost_scope = outer_; }

InterruptCheck SetInterruptCheck(InterruptCheck check) {
  return std::exchange(interrupt_check, check);
}

bool InterruptRequested() {
  for (const CancelScope* scope = innermost_scope; scope != nullptr; scope = scope->outer_) {
    if (scope->flag_.load()) return true;
  }
  return interrupt_check != nullptr && interrupt_check() != 0;
}

Status WaitUntil(Mutex& mutex, CondVar& changed, Deadline deadline,
                 const std::function<bool()>& done) {
  while (!done()) {
    auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return DeadlineExceeded("the deadline has passed");
    if (!CanBeInterrupted()) {
      changed.WaitUntil(mutex, deadline);
      continue;
    }
    changed.WaitUntil(mutex, std::min(deadline, now + kInterruptPeriod));
    if (done()) break;
    mutex.Unlock();
    bool interrupted = InterruptRequested();
    mutex.Lock();
    if (interrupted && !done())
      return Interrupted(
          "the wait was interrupted: by a signal, or because what it waited on was closed");
  }
  return Ok();
}

Status WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                 Deadline deadline, const std::function<bool()>& done) {
  while (!done()) {
    auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return DeadlineExceeded("the deadline has passed");
    if (!CanBeInterrupted()) {
      WaitOn(lock, changed, deadline);
      continue;
    }
    WaitOn(lock, changed, std::min(deadline, now + kInterruptPeriod));
    if (done()) break;
    lock.unlock();
    bool interrupted = InterruptRequested();
    lock.lock();
    if (interrupted && !done())
      return Interrupted(
          "the wait was interrupted: by a signal, or because what it waited on was closed");
  }
  return Ok();
}

Status PauseUntil(Deadline deadline) {
  for (auto now = std::chrono::steady_clock::now(); now < deadline;
       now = std::chrono::steady_clock::now()) {
    std::this_thread::sleep_until(!CanBeInterrupted() ? deadline
                                                      : std::min(deadline, now + kInterruptPeriod));
    if (InterruptRequested())
      return Interrupted(
          "the wait was interrupted: by a signal, or because what it waited on was closed");
  }
  return Ok();
}

}  // namespace memfabric
