// runtime/callback_thread.h: the thread that runs users' callbacks, in the order of the events.
//
// A callback may take as long as it likes, and nobody waits for it without bound: events that don't
// fit the queue are dropped, and a callback that doesn't return within kCallbackPatience is left to
// itself when the runtime ends.
//
// Owner: the runtime. Threads: any. The thread starts with the first event.

#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

namespace memfabric {

constexpr std::size_t kMostEvents = 4096;
constexpr std::chrono::seconds kCallbackPatience{5};

class CallbackThread {
 public:
  explicit CallbackThread(std::chrono::milliseconds patience = kCallbackPatience);
  ~CallbackThread();  // What is queued is run first, within `patience`.

  void Submit(std::function<void()> event);

 private:
  struct State;
  const std::chrono::milliseconds patience_;
  std::shared_ptr<State> state_;  // shared with the thread, which may have to be left behind
};

}  // namespace memfabric
