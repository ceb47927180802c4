#include "base/wait.h"

#include <algorithm>
#include <thread>

namespace memfabric {
namespace {

thread_local InterruptCheck interrupt_check = nullptr;

}  // namespace

InterruptCheck SetInterruptCheck(InterruptCheck check) { return std::exchange(interrupt_check, check); }

bool InterruptRequested() { return interrupt_check != nullptr && interrupt_check() != 0; }

Status WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Deadline deadline,
                 const std::function<bool()>& done) {
  while (!done()) {
    auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return DeadlineExceeded("the deadline has passed");
    if (interrupt_check == nullptr) {
      changed.wait_until(lock, deadline);
      continue;
    }
    changed.wait_until(lock, std::min(deadline, now + kInterruptPeriod));
    if (done()) break;
    lock.unlock();
    bool interrupted = InterruptRequested();
    lock.lock();
    if (interrupted && !done()) return Interrupted("interrupted by a signal");
  }
  return Ok();
}

Status PauseUntil(Deadline deadline) {
  for (auto now = std::chrono::steady_clock::now(); now < deadline; now = std::chrono::steady_clock::now()) {
    std::this_thread::sleep_until(interrupt_check == nullptr ? deadline : std::min(deadline, now + kInterruptPeriod));
    if (InterruptRequested()) return Interrupted("interrupted by a signal");
  }
  return Ok();
}

}  // namespace memfabric
