#include "capi/extern_logger.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/thread.h"
#include "base/timed_wait.h"

namespace memfabric::capi {

std::atomic<std::uint32_t> lines_waiting{0};

namespace {

using std::chrono::steady_clock;

constexpr std::size_t kMostLines = 4096;
constexpr std::chrono::milliseconds kPatience{100};  // then a logger counts as stalled

thread_local bool in_logger = false;

struct Line {
  LogLevel level;
  std::string text;
};

struct State {
  std::mutex mutex;  // guards the rest
  std::condition_variable changed;
  smem_extern_logger logger = nullptr;
  smem_logger_gate gate = nullptr;
  // of the logger: a thread that is still in a former one finds out by it
  std::uint64_t generation = 0;
  bool has_thread = false;
  std::deque<Line> waiting;
  std::uint64_t dropped = 0;
  std::uint64_t added = 0;
  std::uint64_t delivered = 0;
  bool calling = false;  // a thread is in the logger
  steady_clock::time_point since;

  // What follows REQUIRES: mutex held.
  void Count() {
    lines_waiting.store(static_cast<std::uint32_t>(waiting.size() + (calling ? 1 : 0)));
  }
  void Push(Line line) {
    waiting.push_back(std::move(line));
    ++added;
    Count();
  }
  void SayDropped() {
    if (dropped == 0 || waiting.size() >= kMostLines) return;
    Push({LogLevel::kWarn, fmt::format("{} lines of the log were dropped: {} waited for the logger "
                                       "already, which is slower than "
                                       "they come",
                                       std::exchange(dropped, 0), kMostLines)});
  }
  bool Stalled() const { return calling && steady_clock::now() - since > kPatience; }

  Delivery Deliver(std::unique_lock<std::mutex>& lock);
  void Work(std::uint64_t mine);
};

std::atomic<State*>& StatePointer() {
  static std::atomic<State*> state{new State};  // never destroyed: threads may log at exit
  return state;
}

State& TheState() { return *StatePointer().load(std::memory_order_acquire); }

Delivery State::Deliver(std::unique_lock<std::mutex>& lock) {
  if (calling) return Stalled() ? Delivery::kStalled : Delivery::kUnderWay;
  std::uint64_t mine = generation;
  std::uint64_t last = added;
  calling = true;
  while (generation == mine && delivered < last && !waiting.empty()) {
    Line line = std::move(waiting.front());
    waiting.pop_front();
    Count();
    since = steady_clock::now();
    smem_extern_logger call = logger;
    lock.unlock();
    in_logger = true;
    call(static_cast<int>(line.level), line.text.c_str());
    in_logger = false;
    lock.lock();
    if (generation != mine) return Delivery::kDone;  // another logger's lines are none of ours
    ++delivered;
    if (waiting.empty() && dropped > 0) {
      SayDropped();
      last = added;
    }
  }
  calling = false;
  Count();
  changed.notify_all();
  return Delivery::kDone;
}

void State::Work(std::uint64_t mine) {
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [&] { return generation != mine || (!waiting.empty() && !calling); });
    if (generation != mine) return;
    smem_logger_gate enter = gate;
    if (enter == nullptr) {
      (void)Deliver(lock);
      continue;
    }
    // The lines stay in the queue meanwhile: who is inside already delivers them.
    lock.unlock();
    enter(1);
    lock.lock();
    if (generation == mine) (void)Deliver(lock);
    lock.unlock();
    enter(0);
    lock.lock();
  }
}

void Add(LogLevel level, const std::string& text) {
  if (in_logger) return;
  State& state = TheState();
  std::lock_guard lock(state.mutex);
  if (state.logger == nullptr) return;
  state.SayDropped();
  if (state.waiting.size() >= kMostLines) {
    ++state.dropped;
    return;
  }
  state.Push({level, text});
  if (!state.has_thread) {
    // Refused by the machine, it is tried again with the next line; until then the calls that
    // return deliver them.
    state.has_thread = Thread::StartDetached(
                           "mf-logger", [&state, mine = state.generation] { state.Work(mine); },
                           Thread::Stack::kTheUsers)
                           .ok();
  }
  state.changed.notify_all();
}

void BeforeFork() { TheState().mutex.lock(); }
void AfterForkInParent() { TheState().mutex.unlock(); }
void AfterForkInChild() {
  State& parents = TheState();
  auto* own = new State;
  own->logger = parents.logger;
  own->gate = parents.gate;
  lines_waiting.store(0);
  StatePointer().store(own, std::memory_order_release);
}

}  // namespace

void SetExternLogger(smem_extern_logger logger, smem_logger_gate gate) {
  static std::once_flag registered;
  std::call_once(registered,
                 [] { pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild); });
  if (logger == nullptr) log::SetSink({});
  State& state = TheState();
  std::unique_lock lock(state.mutex);
  if (!in_logger && !state.waiting.empty() && !state.Stalled()) {
    smem_logger_gate enter = state.gate;
    lock.unlock();
    if (enter != nullptr) enter(1);
    Delivery delivery = DeliverLines();
    if (enter != nullptr) enter(0);
    if (delivery == Delivery::kUnderWay) AwaitLines();
    lock.lock();
  }
  ++state.generation;
  state.waiting.clear();
  state.dropped = 0;
  state.delivered = state.added;
  state.calling = false;
  state.has_thread = false;
  state.logger = logger;
  state.gate = gate;
  state.Count();
  state.changed.notify_all();
  lock.unlock();
  if (logger != nullptr) log::SetSink(&Add);
}

Delivery DeliverLines() {
  if (in_logger) return Delivery::kDone;
  State& state = TheState();
  std::unique_lock lock(state.mutex);
  return state.Deliver(lock);
}

void AwaitLines() {
  if (in_logger) return;
  State& state = TheState();
  std::unique_lock lock(state.mutex);
  std::uint64_t last = state.added;
  std::uint64_t generation = state.generation;
  auto end = steady_clock::now() + kPatience;
  while (state.generation == generation && state.delivered < last && !state.Stalled() &&
         steady_clock::now() < end)
    WaitOn(lock, state.changed, end);
}

void SettleLines() {
  if (in_logger) return;
  State& state = TheState();
  {
    std::lock_guard lock(state.mutex);
    if (state.gate != nullptr) return;
  }
  if (DeliverLines() == Delivery::kUnderWay) AwaitLines();
}

}  // namespace memfabric::capi
