// base/work_queue.h: work that is done later, first in, first out, on a thread of its own.
//
// Owner: whoever has the work. Threads: any. The thread starts with the first submission and sleeps
// when there is nothing to do.

#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"

namespace memfabric {

class WorkQueue {
 public:
  // `stack`: Thread::Stack::kTheUsers where the work calls users' functions.
  explicit WorkQueue(std::string thread_name, Thread::Stack stack = Thread::Stack::kOurs);
  ~WorkQueue();  // Runs what is queued to its end, then joins.

  // Runs `work` after all that was submitted before. On the caller's thread if the machine refuses
  // another one.
  void Submit(std::function<Status()> work);
  // The same for callers that may not do the work themselves: when the machine refuses the thread,
  // nothing is queued.
  Status TrySubmit(std::function<Status()> work);
  // Waits for all that was submitted before this call, by any thread; returns the first error among
  // what ended since the last Wait and forgets it.
  // DeadlineExceeded leaves the work queued; Interrupted as base/wait.h.
  Status Wait(Deadline deadline);
  // Whether all that was submitted has ended.
  bool Idle() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace memfabric
