#include "runtime/callback_thread.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "base/thread.h"
#include "base/timed_wait.h"

namespace memfabric {

struct CallbackThread::State {
  std::mutex mutex;  // guards the rest
  std::condition_variable changed;
  std::deque<std::function<void()>> waiting;
  std::uint64_t dropped = 0;
  bool stopping = false;
  bool started = false;
  bool ended = false;

  void Work() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return stopping || !waiting.empty(); });
      if (waiting.empty()) break;
      std::function<void()> event = std::move(waiting.front());
      waiting.pop_front();
      lock.unlock();
      event();
      event = nullptr;
      lock.lock();
    }
    ended = true;
    changed.notify_all();
  }
};

CallbackThread::CallbackThread(std::chrono::milliseconds patience)
    : patience_(patience), state_(std::make_shared<State>()) {}

CallbackThread::~CallbackThread() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
  if (!state_->started) return;
  const auto until = std::chrono::steady_clock::now() + patience_;
  while (!state_->ended && std::chrono::steady_clock::now() < until)
    WaitOn(lock, state_->changed, until);
  const bool ended = state_->ended;
  std::size_t left = state_->waiting.size();
  if (!ended) state_->waiting.clear();
  lock.unlock();
  if (ended) return;
  LOG(kWarn,
      "a user's callback has not returned for {} ms: it is left to itself, {} events behind it are "
      "dropped",
      patience_.count(), left);
}

void CallbackThread::Submit(std::function<void()> event) {
  std::unique_lock lock(state_->mutex);
  bool fits = state_->waiting.size() < kMostEvents;
  std::uint64_t dropped = fits ? std::exchange(state_->dropped, 0) : ++state_->dropped;
  if (fits) {
    state_->waiting.push_back(std::move(event));
    if (!state_->started) {  // refused by the machine, it is tried again with the next event
      auto work = [state = state_] { state->Work(); };
      state_->started =
          Thread::StartDetached("mf-callbacks", std::move(work), Thread::Stack::kTheUsers).ok();
    }
    state_->changed.notify_all();
  }
  lock.unlock();
  if (!fits && dropped == 1)
    LOG(kWarn,
        "{} events wait for the users' callbacks, which are slower than they come: more are "
        "dropped",
        kMostEvents);
  if (fits && dropped > 0) LOG(kWarn, "{} events were dropped before this one", dropped);
}

}  // namespace memfabric
