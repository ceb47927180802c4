// runtime/user_callback.h: a function of the user's that is told of events, in order, from the
// runtime's callback thread.
//
// Threads: any. Set waits for a call that is under way, unless it comes from the function itself,
// and for kCallbackPatience at most; so does the destructor. No call begins afterwards.

#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/timed_wait.h"
#include "runtime/callback_thread.h"

namespace memfabric {

// Whether this thread is in a user's function right now: what waits for the callback thread must
// not run there.
bool InUserCallback();

class UserCallbackScope {  // for as long as it lives, InUserCallback() is true
 public:
  UserCallbackScope();
  ~UserCallbackScope();
};

template <typename... Event>
class UserCallback {
 public:
  using Function = std::function<void(const Event&...)>;

  // `thread` outlives this object.
  explicit UserCallback(CallbackThread& thread)
      : thread_(thread), state_(std::make_shared<State>()) {}
  ~UserCallback() { Set(nullptr); }

  void Set(Function function) {
    std::unique_lock lock(state_->mutex);
    std::swap(state_->function, function);
    if (state_->running == std::this_thread::get_id()) return;
    const auto until = std::chrono::steady_clock::now() + kCallbackPatience;
    while (state_->running != std::thread::id() && std::chrono::steady_clock::now() < until)
      WaitOn(lock, state_->returned, until);
    const bool returned = state_->running == std::thread::id();
    lock.unlock();
    if (!returned)
      LOG(kWarn, "a user's callback has not returned for {} s: it is not waited for any longer",
          kCallbackPatience.count());
  }

  bool wanted() const {
    std::lock_guard lock(state_->mutex);
    return static_cast<bool>(state_->function);
  }

  void Tell(const Event&... event) {
    if (!wanted()) return;
    thread_.Submit([state = state_, event...] {
      Function function;
      {
        std::lock_guard lock(state->mutex);
        if (!state->function) return;
        function = state->function;
        state->running = std::this_thread::get_id();
      }
      {
        UserCallbackScope scope;
        function(event...);
        function = nullptr;  // what it holds goes while it still counts as running
      }
      std::lock_guard lock(state->mutex);
      state->running = std::thread::id();
      state->returned.notify_all();
    });
  }

 private:
  // shared with the calls that are queued: they may outlive the owner, and then find no function
  struct State {
    std::mutex mutex;
    std::condition_variable returned;
    Function function;
    std::thread::id running;  // the thread that is in the function
  };
  CallbackThread& thread_;
  std::shared_ptr<State> state_;
};

}  // namespace memfabric
