#include "copy/lanes.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "base/mutex.h"
#include "base/thread.h"
#include "base/wait.h"

namespace memfabric::copy {
namespace {

// So many ranges of a lane are looked at for one new copy; then it waits for the whole lane.
constexpr std::size_t kMostCompared = 4096;
// A copy that could begin is left this long to the threads that are at work; one of them has ended
// with its own by then, or what it waits for is slow.
constexpr std::chrono::milliseconds kPatience{1};

// In order, and none touches the next.
void Normalize(std::vector<ByteRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
  std::size_t last = 0;
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].begin <= ranges[last].end) {
      ranges[last].end = std::max(ranges[last].end, ranges[i].end);
    } else {
      ranges[++last] = ranges[i];
    }
  }
  if (!ranges.empty()) ranges.resize(last + 1);
}

// From the first of normalized ranges to the last.
ByteRange Hull(const std::vector<ByteRange>& ranges) {
  return ranges.empty() ? ByteRange{} : ByteRange{ranges.front().begin, ranges.back().end};
}

void Extend(ByteRange& hull, const ByteRange& by) {
  if (by.begin == by.end) return;
  hull = hull.begin == hull.end
             ? by
             : ByteRange{std::min(hull.begin, by.begin), std::max(hull.end, by.end)};
}

// Whether two normalized lists have a byte in common.
bool Meet(const std::vector<ByteRange>& a, const std::vector<ByteRange>& b) {
  for (auto left = a.begin(), right = b.begin(); left != a.end() && right != b.end();) {
    if (left->Overlaps(*right)) return true;
    left->end <= right->begin ? ++left : ++right;
  }
  return false;
}

struct Task {
  std::uint64_t number = 0;
  std::function<Status()> work;
  Footprint footprint;             // normalized
  std::size_t waits_for = 0;       // so many of those before it
  std::vector<Task*> waited_by{};  // those after it
  bool slow = false;               // others don't wait to see it end
};

// Whether the order of the two matters, their ranks aside.
bool Conflict(const Footprint& a, const Footprint& b) {
  return Meet(a.writes, b.writes) || Meet(a.writes, b.reads) || Meet(a.reads, b.writes);
}

// What concerns one rank and hasn't ended, in order.
struct Lane {
  std::deque<Task*> tasks;
  ByteRange reads;  // hulls of the tasks', and of those that have ended since the lane was empty
  ByteRange writes;

  // The last task that `footprint` has to wait for because of its memory, or null.
  Task* LastInTheWay(const Footprint& footprint) const {
    ByteRange own_reads = Hull(footprint.reads);
    ByteRange own_writes = Hull(footprint.writes);
    if (!own_writes.Overlaps(writes) && !own_writes.Overlaps(reads) && !own_reads.Overlaps(writes))
      return nullptr;
    std::size_t compared = 0;
    for (auto task = tasks.rbegin(); task != tasks.rend(); ++task) {
      if (Conflict(footprint, (*task)->footprint)) return *task;
      compared += footprint.reads.size() + footprint.writes.size() +
                  (*task)->footprint.reads.size() + (*task)->footprint.writes.size();
      if (compared > kMostCompared) return tasks.back();
    }
    return nullptr;
  }
};

}  // namespace

struct Lanes::State {
  Mutex mutex;
  CondVar runnable;
  CondVar ended;
  // by number, those that haven't ended
  std::map<std::uint64_t, std::unique_ptr<Task>> tasks GUARDED_BY(mutex);
  std::map<std::uint32_t, Lane> lanes GUARDED_BY(mutex);  // by rank, those that aren't empty
  std::deque<Task*> ready GUARDED_BY(mutex);              // wait for nobody, and haven't begun
  std::vector<Task*> under_way GUARDED_BY(mutex);
  std::uint64_t next_number GUARDED_BY(mutex) = 0;
  Status first_error GUARDED_BY(mutex);  // since the last Wait
  std::uint64_t first_error_number GUARDED_BY(mutex) = 0;
  std::size_t idle GUARDED_BY(mutex) = 0;        // threads
  std::size_t running GUARDED_BY(mutex) = 0;     // tasks that aren't slow yet
  std::uint64_t finished GUARDED_BY(mutex) = 0;  // tasks
  bool stopping GUARDED_BY(mutex) = false;
  std::vector<Thread> threads;  // started with the mutex held

  void Insert(Footprint footprint, std::function<Status()> work) REQUIRES(mutex) {
    Normalize(footprint.reads);
    Normalize(footprint.writes);
    std::sort(footprint.ranks.begin(), footprint.ranks.end());
    footprint.ranks.erase(std::unique(footprint.ranks.begin(), footprint.ranks.end()),
                          footprint.ranks.end());
    auto owned = std::make_unique<Task>(
        Task{.number = next_number++, .work = std::move(work), .footprint = std::move(footprint)});
    Task* task = owned.get();
    const auto& ranks = task->footprint.ranks;
    std::vector<Task*> before;
    // Each task of a lane waits for the one before it there: to wait for one is to wait for all up
    // to it.
    for (const auto& [rank, lane] : lanes) {
      Task* last = std::binary_search(ranks.begin(), ranks.end(), rank)
                       ? lane.tasks.back()
                       : lane.LastInTheWay(task->footprint);
      if (last != nullptr) before.push_back(last);
    }
    std::sort(before.begin(), before.end());
    before.erase(std::unique(before.begin(), before.end()), before.end());
    for (Task* other : before) other->waited_by.push_back(task);
    task->waits_for = before.size();
    for (std::uint32_t rank : ranks) {
      Lane& lane = lanes[rank];
      lane.tasks.push_back(task);
      Extend(lane.reads, Hull(task->footprint.reads));
      Extend(lane.writes, Hull(task->footprint.writes));
    }
    if (task->waits_for == 0) ready.push_back(task);
    tasks.emplace(task->number, std::move(owned));
  }

  // Runs the oldest that is ready; gives the mutex up meanwhile. REQUIRES: one is ready.
  void RunOne() REQUIRES(mutex) {
    Task* task = ready.front();
    ready.pop_front();
    under_way.push_back(task);
    ++running;
    KeepAStandby();
    mutex.Unlock();
    Status status = task->work();
    task->work = nullptr;  // what it holds goes before anybody hears that it has ended
    mutex.Lock();
    std::erase(under_way, task);
    if (!task->slow) --running;
    ++finished;
    if (!status.ok() && (first_error.ok() || task->number < first_error_number)) {
      first_error = std::move(status);
      first_error_number = task->number;
    }
    for (std::uint32_t rank : task->footprint.ranks) {
      auto lane = lanes.find(rank);
      lane->second.tasks.pop_front();  // it was the first: the others wait for it
      if (lane->second.tasks.empty()) lanes.erase(lane);
    }
    for (Task* next : task->waited_by)
      if (--next->waits_for == 0) ready.push_back(next);
    tasks.erase(task->number);
    ended.NotifyAll();
    if (tasks.empty() && stopping) runnable.NotifyAll();
  }

  // Somebody is there for what is ready, should those under way turn out to be slow.
  void KeepAStandby() REQUIRES(mutex) {
    if (ready.empty()) return;
    if (idle > 0) return runnable.NotifyOne();
    if (threads.size() >= kMostThreads || stopping) return;
    if (auto thread = Thread::Start("mf-lane", [this] { Work(); }); thread.ok())
      threads.push_back(std::move(*thread));
  }

  void Work() {
    MutexLock lock(mutex);
    for (;;) {
      if (!AwaitTurn()) return;
      RunOne();
    }
  }

  // True: something is ready for this thread. False: all is done.
  bool AwaitTurn() REQUIRES(mutex) {
    ++idle;
    for (;;) {
      while (ready.empty() && !(stopping && tasks.empty())) runnable.Wait(mutex);
      if (ready.empty() || running == 0) break;
      auto seen = finished;
      for (const auto until = std::chrono::steady_clock::now() + kPatience;
           !ready.empty() && running != 0 && std::chrono::steady_clock::now() < until;)
        runnable.WaitUntil(mutex, until);
      if (ready.empty() || finished != seen) continue;
      for (Task* task : under_way) task->slow = true;
      running = 0;
    }
    --idle;
    return !ready.empty();
  }
};

Lanes::Lanes() : state_(std::make_unique<State>()) {}

Lanes::~Lanes() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
  }
  state_->runnable.NotifyAll();
  for (Thread& thread : state_->threads) thread.Join();  // none is started any more
}

void Lanes::Submit(Footprint footprint, std::function<Status()> work) {
  MutexLock lock(state_->mutex);
  state_->Insert(std::move(footprint), std::move(work));
  state_->KeepAStandby();
  // No thread to be had: the work is done at once instead of never. What waits for another caller's
  // is done there.
  while (state_->threads.empty() && !state_->ready.empty()) state_->RunOne();
}

Status Lanes::Wait(Deadline deadline) {
  MutexLock lock(state_->mutex);
  std::uint64_t mine = state_->next_number;
  RETURN_IF_ERROR(WaitUntil(state_->mutex, state_->ended, deadline, [&]() REQUIRES(state_->mutex) {
    return state_->tasks.empty() || state_->tasks.begin()->first >= mine;
  }));
  return std::exchange(state_->first_error, Ok());
}

}  // namespace memfabric::copy
