#include "base/mutex.h"

#include "base/timed_wait.h"

namespace memfabric {

void CondVar::Wait(Mutex& mutex) {
  std::unique_lock lock(mutex.mutex_, std::adopt_lock);
  changed_.wait(lock);
  lock.release();
}

void CondVar::WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(mutex.mutex_, std::adopt_lock);
  WaitOn(lock, changed_, until);
  lock.release();
}

}  // namespace memfabric
