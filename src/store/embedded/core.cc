#include "store/embedded/core.h"

#include <malloc.h>

#include "base/mutex.h"

namespace memfabric::store {

Core::~Core() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyOne();
  ticker_.Join();
}

Status Core::Start() {
  ASSIGN_OR_RETURN(ticker_, Thread::Start("mf-leases", [this] { TickUntilStopped(); }));
  return Ok();
}

void Core::TickUntilStopped() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    const TimePoint next = state_.Tick(clock_.Now());
    const Readers readers = state_.watches().TakeReady();
    if (readers.empty()) {
      if (freed_ >= kTrimBytes) {
        lock.Unlock();
        TrimIfDue();
        lock.Lock();
        continue;
      }
      clock_.WaitUntil(mutex_, changed_, next);
      continue;
    }
    lock.Unlock();
    Tell(readers);
    lock.Lock();
  }
}

void Core::TrimIfDue() {
  if (freed_.exchange(0) >= kTrimBytes) malloc_trim(0);
}

}  // namespace memfabric::store
