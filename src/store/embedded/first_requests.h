// store/embedded/first_requests.h: which of the connections that gRPC was given have asked for
// something, and which haven't yet.
//
// Owner: the core. Threads: any. Costs a request one atomic load while everybody has asked for
// something.

#pragma once

#include <atomic>
#include <charconv>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace memfabric::store {

class FirstRequests {
 public:
  // `wake` is called, with a lock held, when there is something to Take(); null: no more.
  void Tell(std::function<void()> wake) {
    MutexLock lock(mutex_);
    wake_ = std::move(wake);
  }
  // Connections are known by gRPC's descriptors.
  void Expect(int fd) {
    MutexLock lock(mutex_);
    awaited_.insert(fd);
    count_ = awaited_.size();
  }
  void Forget(int fd) {
    MutexLock lock(mutex_);
    awaited_.erase(fd);
    count_ = awaited_.size();
  }
  // Those that have asked since the last call.
  std::vector<int> Take() {
    MutexLock lock(mutex_);
    return std::exchange(asked_, {});
  }

  // `context`: of a request. Its peer is "fd:<number>" to gRPC.
  template <typename Context>
  void Note(const Context& context) {
    if (count_ == 0) return;
    const std::string peer = context.peer();
    int fd = -1;
    if (peer.starts_with(kPeer))
      std::from_chars(peer.data() + kPeer.size(), peer.data() + peer.size(), fd);
    MutexLock lock(mutex_);
    if (awaited_.erase(fd) == 0) return;
    count_ = awaited_.size();
    asked_.push_back(fd);
    if (wake_) wake_();
  }

 private:
  static constexpr std::string_view kPeer = "fd:";

  std::atomic<std::size_t> count_{0};
  Mutex mutex_;
  std::set<int> awaited_ GUARDED_BY(mutex_);
  std::vector<int> asked_ GUARDED_BY(mutex_);
  std::function<void()> wake_ GUARDED_BY(mutex_);
};

}  // namespace memfabric::store
