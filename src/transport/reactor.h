// transport/reactor.h: the one thread of this process that serves peers' needs: epoll, timers,
// posted work. Asleep when idle.
//
// Owned by the runtime; transports and ports borrow it and outlive nothing of it: they remove what
// they added before they end.
//
// Threads: every function may be called from any thread, also from callbacks. Callbacks run on the
// reactor's thread, one at a time, without a lock of the reactor held, and must never block: no
// blocking read or write, no wait for a peer.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/status.h"
#include "base/thread.h"

namespace memfabric::transport {

class Reactor {
 public:
  using OnReady = std::function<void(std::uint32_t events)>;  // events as of epoll_wait
  using Work = std::function<void()>;
  using TimerId = std::uint64_t;

  // OutOfMemory: no fd or thread to be had, with the limit.
  static Result<std::unique_ptr<Reactor>> Create();
  ~Reactor();  // Runs what was posted before, then ends. REQUIRES: not on the reactor's thread.

  bool OnThread() const { return thread_.IsCurrent(); }

  // Watches `fd`, level-triggered. The caller keeps the fd open until Remove has returned.
  // REQUIRES: fd isn't watched yet.
  Status Add(int fd, std::uint32_t events, OnReady on_ready);
  // Other events for an fd that is watched; nothing happens to one that isn't.
  void Modify(int fd, std::uint32_t events);
  // Once it has returned the callback doesn't run any more, unless the caller is that callback. Ok
  // to call for an fd that isn't watched. REQUIRES: no lock held that the callback takes.
  void Remove(int fd);

  // Runs `work` once, after all that was posted before. What was posted before the destructor began
  // runs before it ends.
  void Post(Work work);
  // The same, and waits until it has run. REQUIRES: not on the reactor's thread.
  void RunAndWait(const Work& work);

  // For so long from now on the thread polls, giving way to others, instead of sleeping: who has
  // just asked by `fd` will ask again. Its callback is then called with EPOLLIN also when there is
  // nothing. REQUIRES: on the reactor's thread.
  void StayAwake(std::chrono::microseconds time, int fd);

  // Runs `work` once, at `when` or soon after. What isn't due when the reactor ends is dropped.
  TimerId CallAt(TimePoint when, Work work);
  // As Remove: afterwards `work` doesn't run any more. A timer that has run, is unknown or 0:
  // nothing happens.
  void Cancel(TimerId timer);

  Reactor(UniqueFd epoll, UniqueFd wake);

 private:
  struct Watch {
    OnReady on_ready;
    std::atomic<bool> removed{false};
  };
  struct Timer {
    TimerId id;
    Work work;
  };

  void Run();
  void Wake();
  std::shared_ptr<Watch> Begin(std::uint64_t id);
  void Dispatch(std::uint64_t id, std::uint32_t events);
  void PollHot();
  void RunPosted();
  void RunDueTimers();
  int NextTimeoutMs();
  void Finish(std::uint64_t id);
  void WaitWhileRunning(std::unique_lock<std::mutex>& lock, std::uint64_t id);

  UniqueFd epoll_;
  UniqueFd wake_;
  TimePoint awake_until_;  // the reactor's thread only, as the next
  std::uint64_t hot_ = 0;  // the watch that is polled meanwhile
  std::mutex mutex_;       // guards all below
  std::condition_variable finished_;
  // of watches and timers; 0 is the wake fd in epoll's data, and "nothing" in running_
  std::uint64_t next_id_ = 1;
  std::uint64_t running_ = 0;
  bool stopping_ = false;
  std::unordered_map<int, std::uint64_t> ids_;  // by fd
  // shared: a callback that removes itself runs on in an object that is alive
  std::unordered_map<std::uint64_t, std::shared_ptr<Watch>> watches_;
  std::vector<Work> posted_;
  std::atomic<bool> has_posted_{false};  // set and reset with it
  std::multimap<TimePoint, Timer> timers_;
  Thread thread_;
};

}  // namespace memfabric::transport
