#include "store/embedded/core.h"

#include <malloc.h>

namespace memfabric::store {

Core::~Core() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  ticker_.Join();
}

Status Core::Start() {
  ASSIGN_OR_RETURN(ticker_, Thread::Start("mf-leases", [this] { TickUntilStopped(); }));
  return Ok();
}

void Core::TickUntilStopped() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const TimePoint next = state_.Tick(clock_.Now());
    const Readers readers = state_.watches().TakeReady();
    if (readers.empty()) {
      if (freed_ >= kTrimBytes) {
        lock.unlock();
        TrimIfDue();
        lock.lock();
        continue;
      }
      clock_.WaitUntil(lock, changed_, next);
      continue;
    }
    lock.unlock();
    Tell(readers);
    lock.lock();
  }
}

void Core::TrimIfDue() {
  if (freed_.exchange(0) >= kTrimBytes) malloc_trim(0);
}

}  // namespace memfabric::store
