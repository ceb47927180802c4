#include "base/work_queue.h"

#include <cstdint>
#include <deque>
#include <utility>

#include "base/mutex.h"
#include "base/thread.h"
#include "base/wait.h"

namespace memfabric {

struct WorkQueue::State {
  State(std::string name, Thread::Stack stack) : name(std::move(name)), stack(stack) {}

  const std::string name;
  const Thread::Stack stack;
  Mutex mutex;
  CondVar submitted;
  CondVar ended;
  std::deque<std::function<Status()>> waiting GUARDED_BY(mutex);
  std::uint64_t submissions GUARDED_BY(mutex) = 0;
  // in the order of submission: `ends` of them have ended
  std::uint64_t ends GUARDED_BY(mutex) = 0;
  Status first_error GUARDED_BY(mutex);    // since the last Wait
  bool running GUARDED_BY(mutex) = false;  // somebody is in RunOne
  bool stopping GUARDED_BY(mutex) = false;
  Thread thread;  // started with the mutex held

  // Runs the oldest; gives the mutex up meanwhile. REQUIRES: something waits, nothing runs.
  void RunOne() REQUIRES(mutex) {
    std::function<Status()> work = std::move(waiting.front());
    waiting.pop_front();
    running = true;
    mutex.Unlock();
    Status status = work();
    work = nullptr;  // what it holds goes before anybody hears that it has ended
    mutex.Lock();
    running = false;
    ++ends;
    if (first_error.ok()) first_error = std::move(status);
    ended.NotifyAll();
    submitted.NotifyOne();
  }

  Status StartThread() REQUIRES(mutex) {
    if (thread.started()) return Ok();
    ASSIGN_OR_RETURN(thread, Thread::Start(
                                 name, [this] { Work(); }, stack));
    return Ok();
  }

  void Append(std::function<Status()> work) REQUIRES(mutex) {
    waiting.push_back(std::move(work));
    ++submissions;
    submitted.NotifyOne();
  }

  void Work() {
    MutexLock lock(mutex);
    for (;;) {
      while (running || (!stopping && waiting.empty())) submitted.Wait(mutex);
      if (waiting.empty()) return;
      RunOne();
    }
  }
};

WorkQueue::WorkQueue(std::string thread_name, Thread::Stack stack)
    : state_(std::make_unique<State>(std::move(thread_name), stack)) {}

WorkQueue::~WorkQueue() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
  }
  state_->submitted.NotifyAll();
  state_->thread.Join();
}

void WorkQueue::Submit(std::function<Status()> work) {
  MutexLock lock(state_->mutex);
  Status started = state_->StartThread();
  state_->Append(std::move(work));
  if (started.ok()) return;
  // No thread to be had: the work is done at once instead of never; one at a time, so that the
  // order stays.
  while (!state_->waiting.empty()) {
    while (state_->running) state_->ended.Wait(state_->mutex);
    if (!state_->waiting.empty()) state_->RunOne();
  }
}

Status WorkQueue::TrySubmit(std::function<Status()> work) {
  MutexLock lock(state_->mutex);
  RETURN_IF_ERROR(state_->StartThread());
  state_->Append(std::move(work));
  return Ok();
}

Status WorkQueue::Wait(Deadline deadline) {
  MutexLock lock(state_->mutex);
  std::uint64_t mine = state_->submissions;
  RETURN_IF_ERROR(WaitUntil(state_->mutex, state_->ended, deadline,
                            [&]() REQUIRES(state_->mutex) { return state_->ends >= mine; }));
  return std::exchange(state_->first_error, Ok());
}

bool WorkQueue::Idle() const {
  MutexLock lock(state_->mutex);
  return state_->ends == state_->submissions;
}

}  // namespace memfabric
