#include "transport/meeting/pending_calls.h"

#include "base/wait.h"

namespace memfabric::transport {

PendingCalls::PendingCalls(std::vector<std::string> names) : unanswered_(names.size()) {
  for (std::string& name : names) calls_.push_back({std::move(name), {}, {}});
}

std::size_t PendingCalls::Add(std::string name) {
  std::lock_guard lock(mutex_);
  calls_.push_back({std::move(name), {}, {}});
  ++unanswered_;
  return calls_.size() - 1;
}

void PendingCalls::Resolve(std::size_t index, const Status& status) {
  // Notified under the lock: once it sees the last answer the waiter may go, and this object with
  // it.
  std::lock_guard lock(mutex_);
  if (calls_[index].answer.has_value()) return;
  calls_[index].answer = status;
  if (--unanswered_ == 0) changed_.notify_all();
}

void PendingCalls::Note(std::size_t index, std::string_view note) {
  std::lock_guard lock(mutex_);
  calls_[index].note = note;
}

std::vector<Status> PendingCalls::Wait(Deadline deadline, bool& gave_up) {
  std::unique_lock lock(mutex_);
  Status waited = WaitUntil(lock, changed_, deadline, [&] { return unanswered_ == 0; });
  gave_up = !waited.ok();
  std::vector<Status> statuses;
  for (Call& call : calls_) {
    if (call.answer.has_value()) {
      statuses.push_back(*call.answer);
      continue;
    }
    std::string_view note =
        call.note.empty() ? "its process is stopped or overloaded" : std::string_view(call.note);
    statuses.push_back(IsInterrupted(waited)
                           ? Interrupted("interrupted by a signal while waiting for {}", call.name)
                           : DeadlineExceeded("{} did not answer in time: {}", call.name, note));
    call.answer = statuses.back();
  }
  unanswered_ = 0;
  return statuses;
}

}  // namespace memfabric::transport
