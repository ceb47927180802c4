#include "base/work_queue.h"

#include <cstdint>
#include <deque>
#include <mutex>
#include <utility>

#include "base/thread.h"
#include "base/wait.h"

namespace memfabric {

struct WorkQueue::State {
  State(std::string name, Thread::Stack stack) : name(std::move(name)), stack(stack) {}

  const std::string name;
  const Thread::Stack stack;
  std::mutex mutex;  // guards the rest
  std::condition_variable submitted;
  std::condition_variable ended;
  std::deque<std::function<Status()>> waiting;
  std::uint64_t submissions = 0;
  std::uint64_t ends = 0;  // in the order of submission: `ends` of them have ended
  Status first_error;      // since the last Wait
  bool running = false;    // somebody is in RunOne
  bool stopping = false;
  Thread thread;

  // Runs the oldest. REQUIRES: `lock` held, something waiting, not running.
  void RunOne(std::unique_lock<std::mutex>& lock) {
    std::function<Status()> work = std::move(waiting.front());
    waiting.pop_front();
    running = true;
    lock.unlock();
    Status status = work();
    work = nullptr;  // what it holds goes before anybody hears that it has ended
    lock.lock();
    running = false;
    ++ends;
    if (first_error.ok()) first_error = std::move(status);
    ended.notify_all();
    submitted.notify_one();
  }

  // REQUIRES: `mutex` is held.
  Status StartThread() {
    if (thread.started()) return Ok();
    ASSIGN_OR_RETURN(thread, Thread::Start(
                                 name, [this] { Work(); }, stack));
    return Ok();
  }

  // REQUIRES: `mutex` is held.
  void Append(std::function<Status()> work) {
    waiting.push_back(std::move(work));
    ++submissions;
    submitted.notify_one();
  }

  void Work() {
    std::unique_lock lock(mutex);
    for (;;) {
      submitted.wait(lock, [this] { return !running && (stopping || !waiting.empty()); });
      if (waiting.empty()) return;
      RunOne(lock);
    }
  }
};

WorkQueue::WorkQueue(std::string thread_name, Thread::Stack stack)
    : state_(std::make_unique<State>(std::move(thread_name), stack)) {}

WorkQueue::~WorkQueue() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->submitted.notify_all();
  state_->thread.Join();
}

void WorkQueue::Submit(std::function<Status()> work) {
  std::unique_lock lock(state_->mutex);
  Status started = state_->StartThread();
  state_->Append(std::move(work));
  if (started.ok()) return;
  // No thread to be had: the work is done at once instead of never; one at a time, so that the
  // order stays.
  while (!state_->waiting.empty()) {
    state_->ended.wait(lock, [this] { return !state_->running; });
    if (!state_->waiting.empty()) state_->RunOne(lock);
  }
}

Status WorkQueue::TrySubmit(std::function<Status()> work) {
  std::lock_guard lock(state_->mutex);
  RETURN_IF_ERROR(state_->StartThread());
  state_->Append(std::move(work));
  return Ok();
}

Status WorkQueue::Wait(Deadline deadline) {
  std::unique_lock lock(state_->mutex);
  std::uint64_t mine = state_->submissions;
  RETURN_IF_ERROR(WaitUntil(lock, state_->ended, deadline, [&] { return state_->ends >= mine; }));
  return std::exchange(state_->first_error, Ok());
}

bool WorkQueue::Idle() const {
  std::lock_guard lock(state_->mutex);
  return state_->ends == state_->submissions;
}

}  // namespace memfabric
