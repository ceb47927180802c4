#include "store/embedded/core.h"

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
      clock_.WaitUntil(lock, changed_, next);
      continue;
    }
    lock.unlock();
    Tell(readers);
    lock.lock();
  }
}

}  // namespace memfabric::store
