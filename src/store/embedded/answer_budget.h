// store/embedded/answer_budget.h: bounds what large answers take while they are on their way to
// clients: so many bytes at a time, the others wait their turn. Small answers, as ranks get them,
// aren't counted.
//
// Owner: the core. Threads: any; waiters are told without locks held.

#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace memfabric::store {

class AnswerBudget {
 public:
  static constexpr std::size_t kSmallBytes = 256 << 10;  // an answer of so many isn't counted
  static constexpr std::size_t kMostBytes = 16 << 20;    // one that is larger goes alone
  static constexpr std::size_t kMostWaiting = 256;

  class Waiter {
   public:
    virtual ~Waiter() = default;
    virtual void OnAdmitted() = 0;
  };
  enum class Turn { kNow, kLater, kNever };  // kNever: too many wait

  // kLater: `waiter` is told, once, unless it withdraws before.
  Turn Ask(Waiter& waiter, std::size_t bytes) {
    MutexLock lock(mutex_);
    if (waiting_.empty() && Fits(bytes)) {
      under_way_ += bytes;
      return Turn::kNow;
    }
    if (waiting_.size() >= kMostWaiting) return Turn::kNever;
    waiting_.push_back({&waiter, bytes});
    return Turn::kLater;
  }
  // False: it doesn't wait any more; its turn has come.
  bool Withdraw(Waiter& waiter) {
    MutexLock lock(mutex_);
    return std::erase_if(waiting_, [&](const Entry& entry) { return entry.waiter == &waiter; }) !=
           0;
  }
  // An answer has arrived, or nobody wants it any more.
  void Release(std::size_t bytes) {
    std::vector<Waiter*> admitted;
    {
      MutexLock lock(mutex_);
      under_way_ -= bytes;
      while (!waiting_.empty() && Fits(waiting_.front().bytes)) {
        under_way_ += waiting_.front().bytes;
        admitted.push_back(waiting_.front().waiter);
        waiting_.pop_front();
      }
    }
    for (Waiter* waiter : admitted) waiter->OnAdmitted();
  }

 private:
  struct Entry {
    Waiter* waiter;
    std::size_t bytes;
  };
  bool Fits(std::size_t bytes) const REQUIRES(mutex_) {
    return under_way_ == 0 || under_way_ + bytes <= kMostBytes;
  }

  Mutex mutex_;
  std::size_t under_way_ GUARDED_BY(mutex_) = 0;
  std::deque<Entry> waiting_ GUARDED_BY(mutex_);
};

}  // namespace memfabric::store
