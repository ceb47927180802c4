#include "capi/extern_logger.h"

#include <pthread.h>

#include <chrono>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"

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
  Mutex mutex;
  CondVar changed;
  smem_extern_logger logger GUARDED_BY(mutex) = nullptr;
  smem_logger_gate gate GUARDED_BY(mutex) = nullptr;
  // of the logger: a thread that is still in a former one finds out by it
  std::uint64_t generation GUARDED_BY(mutex) = 0;
  bool has_thread GUARDED_BY(mutex) = false;
  std::deque<Line> waiting GUARDED_BY(mutex);
  std::uint64_t dropped GUARDED_BY(mutex) = 0;
  std::uint64_t added GUARDED_BY(mutex) = 0;
  std::uint64_t delivered GUARDED_BY(mutex) = 0;
  bool calling GUARDED_BY(mutex) = false;  // a thread is in the logger
  steady_clock::time_point since GUARDED_BY(mutex);

  void Count() REQUIRES(mutex) {
    lines_waiting.store(static_cast<std::uint32_t>(waiting.size() + (calling ? 1 : 0)));
  }
  void Push(Line line) REQUIRES(mutex) {
    waiting.push_back(std::move(line));
    ++added;
    Count();
  }
  void SayDropped() REQUIRES(mutex) {
    if (dropped == 0 || waiting.size() >= kMostLines) return;
    Push({LogLevel::kWarn, fmt::format("{} lines of the log were dropped: {} waited for the logger "
                                       "already, which is slower than "
                                       "they come",
                                       std::exchange(dropped, 0), kMostLines)});
  }
  bool Stalled() const REQUIRES(mutex) {
    return calling && steady_clock::now() - since > kPatience;
  }

  // Gives the mutex up while it is in the logger.
  Delivery Deliver() REQUIRES(mutex);
  void Work(std::uint64_t mine);
};

std::atomic<State*>& StatePointer() {
  static std::atomic<State*> state{new State};  // never destroyed: threads may log at exit
  return state;
}

State& TheState() { return *StatePointer().load(std::memory_order_acquire); }

Delivery State::Deliver() {
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
    mutex.Unlock();
    in_logger = true;
    call(static_cast<int>(line.level), line.text.c_str());
    in_logger = false;
    mutex.Lock();
    if (generation != mine) return Delivery::kDone;  // another logger's lines are none of ours
    ++delivered;
    if (waiting.empty() && dropped > 0) {
      SayDropped();
      last = added;
    }
  }
  calling = false;
  Count();
  changed.NotifyAll();
  return Delivery::kDone;
}

void State::Work(std::uint64_t mine) {
  MutexLock lock(mutex);
  for (;;) {
    while (generation == mine && (waiting.empty() || calling)) changed.Wait(mutex);
    if (generation != mine) return;
    smem_logger_gate enter = gate;
    if (enter == nullptr) {
      (void)Deliver();
      continue;
    }
    // The lines stay in the queue meanwhile: who is inside already delivers them.
    lock.Unlock();
    enter(1);
    lock.Lock();
    if (generation == mine) (void)Deliver();
    lock.Unlock();
    enter(0);
    lock.Lock();
  }
}

void Add(LogLevel level, const std::string& text) {
  if (in_logger) return;
  State& state = TheState();
  MutexLock lock(state.mutex);
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
  state.changed.NotifyAll();
}

// The mutex is held across a fork, so that the child finds the logger whole: one function takes it,
// and another gives it up.
void BeforeFork() NO_THREAD_SAFETY_ANALYSIS { TheState().mutex.Lock(); }
void AfterForkInParent() NO_THREAD_SAFETY_ANALYSIS { TheState().mutex.Unlock(); }
void AfterForkInChild() NO_THREAD_SAFETY_ANALYSIS {
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
  MutexLock lock(state.mutex);
  if (!in_logger && !state.waiting.empty() && !state.Stalled()) {
    smem_logger_gate enter = state.gate;
    lock.Unlock();
    if (enter != nullptr) enter(1);
    Delivery delivery = DeliverLines();
    if (enter != nullptr) enter(0);
    if (delivery == Delivery::kUnderWay) AwaitLines();
    lock.Lock();
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
  state.changed.NotifyAll();
  lock.Unlock();
  if (logger != nullptr) log::SetSink(&Add);
}

Delivery DeliverLines() {
  if (in_logger) return Delivery::kDone;
  State& state = TheState();
  MutexLock lock(state.mutex);
  return state.Deliver();
}

void AwaitLines() {
  if (in_logger) return;
  State& state = TheState();
  MutexLock lock(state.mutex);
  std::uint64_t last = state.added;
  std::uint64_t generation = state.generation;
  auto end = steady_clock::now() + kPatience;
  while (state.generation == generation && state.delivered < last && !state.Stalled() &&
         steady_clock::now() < end)
    state.changed.WaitUntil(state.mutex, end);
}

void SettleLines() {
  if (in_logger) return;
  State& state = TheState();
  {
    MutexLock lock(state.mutex);
    if (state.gate != nullptr) return;
  }
  if (DeliverLines() == Delivery::kUnderWay) AwaitLines();
}

}  // namespace memfabric::capi
