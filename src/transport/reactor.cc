#include "transport/reactor.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <future>
#include <limits>

#include "base/log.h"
#include "base/retry.h"

namespace memfabric::transport {
namespace {

// Of the watch that is polled, before all others get a look; of those, polls that found something;
// polls between two yields.
constexpr unsigned kPollsPerLook = 16;
constexpr unsigned kFindsPerLook = 4;
constexpr unsigned kPollsPerYield = 4;

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::Create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return OutOfMemory("the reactor gets no epoll fd: {}", ErrnoText(errno));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return OutOfMemory("the reactor gets no eventfd: {}", ErrnoText(errno));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return IoError("the reactor can't watch its eventfd: {}", ErrnoText(errno));
  }
  auto reactor = std::make_unique<Reactor>(std::move(epoll), std::move(wake));
  std::lock_guard lock(reactor->mutex_);  // so that the thread finds thread_ assigned
  ASSIGN_OR_RETURN(reactor->thread_,
                   Thread::Start("mf-reactor", [raw = reactor.get()] { raw->Run(); }));
  return reactor;
}

Reactor::Reactor(UniqueFd epoll, UniqueFd wake)
    : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

Reactor::~Reactor() {
  if (!thread_.started()) return;
  CHECK(!OnThread());
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.Join();
}

Status Reactor::Add(int fd, std::uint32_t events, OnReady on_ready) {
  std::lock_guard lock(mutex_);
  std::uint64_t id = next_id_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    if (errno == ENOSPC || errno == ENOMEM) {
      return OutOfMemory("epoll can't watch one more fd: {} (fs.epoll.max_user_watches)",
                         ErrnoText(errno));
    }
    return IoError("epoll can't watch fd {}: {}", fd, ErrnoText(errno));
  }
  ids_[fd] = id;
  auto watch = std::make_shared<Watch>();
  watch->on_ready = std::move(on_ready);
  watches_[id] = std::move(watch);
  return Ok();
}

void Reactor::Modify(int fd, std::uint32_t events) {
  std::lock_guard lock(mutex_);
  auto found = ids_.find(fd);
  if (found == ids_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = found->second;
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0);
}

void Reactor::Remove(int fd) {
  std::shared_ptr<Watch> removed;  // its callback's captures end without the lock
  std::unique_lock lock(mutex_);
  auto found = ids_.find(fd);
  if (found == ids_.end()) return;
  std::uint64_t id = found->second;
  ids_.erase(found);
  auto watch = watches_.find(id);
  removed = std::move(watch->second);
  removed->removed = true;
  watches_.erase(watch);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  WaitWhileRunning(lock, id);
  lock.unlock();
}

void Reactor::Post(Work work) {
  bool first;
  {
    std::lock_guard lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(work));
    has_posted_ = true;
  }
  if (first) Wake();
}

void Reactor::RunAndWait(const Work& work) {
  CHECK(!OnThread());
  std::promise<void> done;
  Post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

void Reactor::StayAwake(std::chrono::microseconds time, int fd) {
  if (time <= time.zero()) return;
  awake_until_ = std::chrono::steady_clock::now() + time;
  std::lock_guard lock(mutex_);
  auto found = ids_.find(fd);
  hot_ = found == ids_.end() ? 0 : found->second;
}

Reactor::TimerId Reactor::CallAt(TimePoint when, Work work) {
  std::uint64_t id;
  bool first;
  {
    std::lock_guard lock(mutex_);
    id = next_id_++;
    auto place = timers_.emplace(when, Timer{id, std::move(work)});
    first = place == timers_.begin();
  }
  if (first && !OnThread()) Wake();
  return id;
}

void Reactor::Cancel(TimerId timer) {
  if (timer == 0) return;
  Work removed;
  std::unique_lock lock(mutex_);
  auto found = std::find_if(timers_.begin(), timers_.end(),
                            [&](const auto& entry) { return entry.second.id == timer; });
  if (found != timers_.end()) {
    removed = std::move(found->second.work);
    timers_.erase(found);
  }
  WaitWhileRunning(lock, timer);
  lock.unlock();
}

void Reactor::Wake() {
  std::uint64_t one = 1;
  // Can fail only when the counter is full, and then the thread is awake anyway.
  [[maybe_unused]] ssize_t written =
      RetryOnSignal([&] { return ::write(wake_.get(), &one, sizeof one); });
}

void Reactor::WaitWhileRunning(std::unique_lock<std::mutex>& lock, std::uint64_t id) {
  if (OnThread()) return;
  finished_.wait(lock, [&] { return running_ != id; });
}

void Reactor::Finish(std::uint64_t id) {
  {
    std::lock_guard lock(mutex_);
    if (running_ == id) running_ = 0;
  }
  finished_.notify_all();
}

void Reactor::Run() {
  { std::lock_guard lock(mutex_); }  // Create has assigned thread_
  std::array<epoll_event, 64> events;
  while (true) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_ && posted_.empty()) return;
    }
    const bool awake =
        awake_until_ != TimePoint() && std::chrono::steady_clock::now() < awake_until_;
    if (awake) PollHot();
    int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                             awake ? 0 : NextTimeoutMs());
    if (count < 0) CHECK(errno == EINTR);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 != 0) {
        Dispatch(events[i].data.u64, events[i].events);
        continue;
      }
      std::uint64_t wakes;
      // non-blocking
      [[maybe_unused]] ssize_t got =
          RetryOnSignal([&] { return ::read(wake_.get(), &wakes, sizeof wakes); });
    }
    RunPosted();
    RunDueTimers();
  }
}

std::shared_ptr<Reactor::Watch> Reactor::Begin(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  auto found = watches_.find(id);
  if (found == watches_.end()) return nullptr;  // removed by a callback of the same round
  running_ = id;
  return found->second;
}

void Reactor::Dispatch(std::uint64_t id, std::uint32_t events) {
  auto watch = Begin(id);
  if (watch == nullptr) return;
  watch->on_ready(events);
  watch.reset();
  Finish(id);
}

// Many polls for one look-up of the watch: what an 8-byte request waits for is the time between two
// of them.
void Reactor::PollHot() {
  const std::uint64_t id = hot_;
  auto watch = Begin(id);
  if (watch == nullptr) {
    awake_until_ = {};
    return;
  }
  unsigned finds = 0;
  for (unsigned polls = 1; polls <= kPollsPerLook && finds < kFindsPerLook; ++polls) {
    const TimePoint before = awake_until_;
    watch->on_ready(EPOLLIN);
    if (awake_until_ != before) ++finds;
    if (watch->removed || has_posted_) break;
    if (polls % kPollsPerYield == 0) ::sched_yield();
  }
  watch.reset();
  Finish(id);
}

void Reactor::RunPosted() {
  std::vector<Work> work;
  {
    std::lock_guard lock(mutex_);
    work.swap(posted_);
    has_posted_ = false;
  }
  for (Work& item : work) {
    item();
    item = nullptr;
  }
}

void Reactor::RunDueTimers() {
  auto now = std::chrono::steady_clock::now();
  while (true) {
    Timer timer;
    {
      std::lock_guard lock(mutex_);
      if (timers_.empty() || timers_.begin()->first > now) return;
      timer = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      running_ = timer.id;
    }
    timer.work();
    timer.work = nullptr;
    Finish(timer.id);
  }
}

int Reactor::NextTimeoutMs() {
  std::lock_guard lock(mutex_);
  if (!posted_.empty() || stopping_) return 0;
  if (timers_.empty()) return -1;
  auto left = timers_.begin()->first - std::chrono::steady_clock::now();
  if (left <= left.zero()) return 0;
  auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<std::int64_t>(ms, std::numeric_limits<int>::max()));
}

}  // namespace memfabric::transport
