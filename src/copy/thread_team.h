// copy/thread_team.h: the threads that help with copies that are too large for one. They sleep when
// there is nothing to do.
//
// Owner: the runtime, one a process. Threads: Run from any thread, several at once, but not from
// inside a part.

#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace memfabric::copy {

class ThreadTeam {
 public:
  // `helpers` threads besides the caller's; started on first use. 0 is fine.
  explicit ThreadTeam(unsigned helpers);
  ~ThreadTeam();  // Joins; REQUIRES: no Run in progress.

  unsigned helpers() const;

  // Calls part(i) for i in [0, parts), some of them on helpers that are free, the rest on the
  // calling thread; returns when all have returned. Helpers that are busy with somebody else's work
  // are not waited for. Parts must not
  // throw, nor wait for each other: while helpers turn out to be late, because the machine is busy,
  // Run does without them.
  void Run(std::size_t parts, const std::function<void(std::size_t)>& part);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace memfabric::copy
