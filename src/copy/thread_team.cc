#include "copy/thread_team.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace memfabric::copy {
namespace {

using Clock = std::chrono::steady_clock;

// Waking up from a futex costs about as much.
constexpr std::chrono::microseconds kSpin{50};

// On a machine with more threads that want to run than processors, a helper is put off in mid-part
// for whole time slices, and a copy of a millisecond waits for many. A Run that waited this long
// for helpers, and longer than half of what it worked itself, lets the following ones do without:
// one after the first time, then 3, 7 … kMaxAlone, until helpers are in time again.
constexpr std::chrono::microseconds kLate{500};
constexpr unsigned kMaxAlone = 255;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// One call of Run, on its caller's stack.
struct Job {
  const std::function<void(std::size_t)>& part;
  const std::size_t parts;
  std::atomic<std::size_t> next{0};  // the first part that nobody has taken
  // changes under the team's mutex; read without it by the spinning caller
  std::atomic<unsigned> helpers_in{0};

  void Work() {
    for (std::size_t i = next.fetch_add(1, std::memory_order_relaxed); i < parts;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      part(i);
    }
  }
};

}  // namespace

struct ThreadTeam::State {
  explicit State(unsigned helper_count) : helpers(helper_count) {}

  const unsigned helpers;
  Mutex mutex;
  CondVar work;
  CondVar done;
  // jobs that helpers may still enter, oldest first
  std::deque<Job*> open GUARDED_BY(mutex);
  bool started GUARDED_BY(mutex) = false;
  bool stopping GUARDED_BY(mutex) = false;
  std::vector<Thread> threads;  // started with the mutex held

  // Without the mutex; a lost update costs a Run its helpers, or gives it late ones.
  std::atomic<unsigned> alone{0};       // Runs to come that do without helpers
  std::atomic<unsigned> last_alone{0};  // how many it was the last time

  bool DoWithoutHelpers() {
    unsigned left = alone.load(std::memory_order_relaxed);
    if (left > 0) alone.store(left - 1, std::memory_order_relaxed);
    return left > 0;
  }

  void Remember(Clock::duration worked, Clock::duration waited) {
    bool late = waited > kLate && waited > worked / 2;
    unsigned next =
        late ? std::min(2 * last_alone.load(std::memory_order_relaxed) + 1, kMaxAlone) : 0;
    last_alone.store(next, std::memory_order_relaxed);
    alone.store(next, std::memory_order_relaxed);
  }

  void Start() REQUIRES(mutex) {
    started = true;
    for (unsigned i = 0; i < helpers; ++i) {
      auto thread = Thread::Start("mf-copy", [this] { Help(); });
      if (!thread.ok()) {
        LOG(kWarn, "large copies run on {} threads instead of {}: {}", i + 1, helpers + 1,
            thread.status().message());
        break;
      }
      threads.push_back(std::move(*thread));
    }
  }

  void Leave(Job* job) REQUIRES(mutex) {
    auto it = std::find(open.begin(), open.end(), job);
    if (it != open.end()) open.erase(it);
  }

  void Help() {
    MutexLock lock(mutex);
    for (;;) {
      while (!stopping && open.empty()) work.Wait(mutex);
      if (stopping) return;
      Job* job = open.front();
      job->helpers_in.fetch_add(1, std::memory_order_relaxed);
      lock.Unlock();
      job->Work();
      lock.Lock();
      Leave(job);  // nothing is left to take
      // The caller may be gone as soon as it sees 0, and the job with it.
      if (job->helpers_in.fetch_sub(1, std::memory_order_release) == 1) done.NotifyAll();
    }
  }
};

ThreadTeam::ThreadTeam(unsigned helpers) : state_(std::make_unique<State>(helpers)) {}

ThreadTeam::~ThreadTeam() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
  }
  state_->work.NotifyAll();
  for (Thread& thread : state_->threads) thread.Join();
}

unsigned ThreadTeam::helpers() const { return state_->helpers; }

void ThreadTeam::Run(std::size_t parts, const std::function<void(std::size_t)>& part) {
  Job job{.part = part, .parts = parts};
  bool shared = parts > 1 && state_->helpers > 0 && !state_->DoWithoutHelpers();
  Clock::time_point begin = Clock::now();
  if (shared) {
    MutexLock lock(state_->mutex);
    if (!state_->started) state_->Start();
    state_->open.push_back(&job);
  }
  if (shared) {
    if (parts > 2) {
      state_->work.NotifyAll();
    } else {
      state_->work.NotifyOne();
    }
  }
  job.Work();
  if (!shared) return;
  {
    MutexLock lock(state_->mutex);
    state_->Leave(&job);  // from here on no helper enters
  }
  Clock::time_point worked = Clock::now();
  while (job.helpers_in.load(std::memory_order_acquire) != 0) {
    if (Clock::now() < worked + kSpin) {
      Pause();
      continue;
    }
    MutexLock lock(state_->mutex);
    while (job.helpers_in.load(std::memory_order_acquire) != 0) state_->done.Wait(state_->mutex);
  }
  state_->Remember(worked - begin, Clock::now() - worked);
}

}  // namespace memfabric::copy
