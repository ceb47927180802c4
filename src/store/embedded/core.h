// store/embedded/core.h: the state behind its lock, the thread that ends its leases, and which
// clients have asked for something.
//
// Owner: the server, which outlives no call. Threads: any; one of its own, asleep until a lease can
// end. While there are leases it wakes once a second, to notice when the process was stopped.

#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "store/embedded/answer_budget.h"
#include "store/embedded/first_requests.h"
#include "store/embedded/state.h"

namespace memfabric::store {

class Core {
 public:
  using Readers = std::vector<WatchSession::Reader*>;

  Core(std::uint64_t identity, Clock& clock, Mvcc::Limits limits = {})
      : clock_(clock), state_(identity, limits) {}
  ~Core();

  // Starts its thread. Before that no lease ends.
  Status Start();

  // Runs call(State&, TimePoint now) with the state locked. The caller tells the readers
  // afterwards.
  template <typename Call>
  [[nodiscard]] Readers Run(Call call) {
    MutexLock lock(mutex_);
    const TimePoint now = clock_.Now();
    const std::size_t forgotten = state_.mvcc().forgotten_bytes();
    call(state_, now);
    if (freed_.fetch_add(state_.mvcc().forgotten_bytes() - forgotten) >= kTrimBytes)
      changed_.NotifyOne();
    if (state_.WantsEarlierTick(now)) changed_.NotifyOne();
    return state_.watches().TakeReady();
  }

  static void Tell(const Readers& readers) {
    for (WatchSession::Reader* reader : readers) reader->OnReady();
  }

  FirstRequests& first_requests() { return first_requests_; }
  AnswerBudget& answers() { return answers_; }

  // So much memory has been given back to the allocator. When it is a lot, the thread gives it back
  // to the system, which other processes of the host may need it from.
  void Freed(std::size_t bytes) {
    if (freed_.fetch_add(bytes) + bytes < kTrimBytes) return;
    MutexLock lock(mutex_);
    changed_.NotifyOne();
  }

 private:
  static constexpr std::size_t kTrimBytes = 16 << 20;

  void TickUntilStopped();
  void TrimIfDue();

  Clock& clock_;
  FirstRequests first_requests_;
  AnswerBudget answers_;
  std::atomic<std::size_t> freed_{0};
  Mutex mutex_;
  CondVar changed_;
  State state_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  Thread ticker_;
};

}  // namespace memfabric::store
