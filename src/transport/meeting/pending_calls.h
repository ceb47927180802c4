// transport/meeting/pending_calls.h: a caller's thread waits for answers that the reactor's thread
// brings
// in.
//
// Shared by the two: the caller may give up first (deadline, interrupt); answers that come later
// are dropped. Threads: any.

#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace memfabric::transport {

class PendingCalls {
 public:
  // `names` are whom the calls wait for, one each: "rank 3 (host …, pid 4711)".
  explicit PendingCalls(std::vector<std::string> names);

  // One more call. REQUIRES: another one is unanswered, or the caller could have seen the end
  // already.
  std::size_t Add(std::string name);
  // The first answer counts.
  void Resolve(std::size_t index, const Status& status);
  // What is known of a call that goes on, for the message if it never ends well: "its queue is
  // full".
  void Note(std::size_t index, std::string_view note);

  // One Status a call; for those without an answer DeadlineExceeded or Interrupted, and `gave_up`
  // is set.
  std::vector<Status> Wait(Deadline deadline, bool& gave_up);

 private:
  struct Call {
    std::string name;
    std::string note;
    std::optional<Status> answer;
  };
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<Call> calls_;
  std::size_t unanswered_;
};

}  // namespace memfabric::transport
