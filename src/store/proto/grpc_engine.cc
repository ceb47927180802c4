#include "store/proto/grpc_engine.h"

#include <grpc/event_engine/event_engine.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace memfabric::store {
namespace {

using grpc_event_engine::experimental::EndpointConfig;
using grpc_event_engine::experimental::EventEngine;
using grpc_event_engine::experimental::MemoryAllocator;
using grpc_event_engine::experimental::MemoryAllocatorFactory;
using std::chrono::steady_clock;

using Task = absl::AnyInvocable<void()>;

// Shared by the engine and its thread, which may outlive it for a moment: gRPC may let go of the
// engine in one of its tasks.
class Tasks {
 public:
  std::intptr_t Add(TimePoint when, Task task) {
    MutexLock lock(mutex_);
    std::intptr_t id = ++last_id_;
    tasks_.emplace(std::pair(when, id), std::move(task));
    due_.emplace(id, when);
    changed_.NotifyOne();
    return id;
  }

  bool Cancel(std::intptr_t id) {
    Task cancelled;  // what it holds goes without the lock
    MutexLock lock(mutex_);
    auto due = due_.find(id);
    if (due == due_.end()) return false;
    auto task = tasks_.find({due->second, id});
    cancelled = std::move(task->second);
    tasks_.erase(task);
    due_.erase(due);
    return true;
  }

  void Stop() {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyOne();
  }

  void Run() {
    current_ = this;
    MutexLock lock(mutex_);
    while (!stopping_) {
      if (tasks_.empty()) {
        changed_.Wait(mutex_);
        continue;
      }
      auto first = tasks_.begin();
      const TimePoint when = first->first.first;
      if (when > steady_clock::now()) {
        changed_.WaitUntil(mutex_, when);
        continue;
      }
      Task task = std::move(first->second);
      due_.erase(first->first.second);
      tasks_.erase(first);
      lock.Unlock();
      task();
      task = nullptr;
      lock.Lock();
    }
  }

  bool OnThread() const { return current_ == this; }

 private:
  static thread_local const Tasks* current_;
  Mutex mutex_;
  CondVar changed_;
  std::map<std::pair<TimePoint, std::intptr_t>, Task> tasks_ GUARDED_BY(mutex_);
  std::map<std::intptr_t, TimePoint> due_ GUARDED_BY(mutex_);
  std::intptr_t last_id_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
};

thread_local const Tasks* Tasks::current_ = nullptr;

class OneThreadEngine final : public EventEngine {
 public:
  OneThreadEngine() { StartThread(); }
  ~OneThreadEngine() override { tasks_->Stop(); }

  bool IsWorkerThread() override { return tasks_->OnThread(); }
  void Run(Closure* closure) override { (void)RunAfter(Duration(0), closure); }
  void Run(Task closure) override { (void)RunAfter(Duration(0), std::move(closure)); }
  TaskHandle RunAfter(Duration when, Closure* closure) override {
    return RunAfter(when, [closure] { closure->Run(); });
  }
  TaskHandle RunAfter(Duration when, Task closure) override {
    StartThread();
    return {{tasks_->Add(steady_clock::now() + when, std::move(closure)), 0}};
  }
  bool Cancel(TaskHandle handle) override { return tasks_->Cancel(handle.keys[0]); }

  absl::StatusOr<std::unique_ptr<Listener>> CreateListener(
      Listener::AcceptCallback, absl::AnyInvocable<void(absl::Status)>, const EndpointConfig&,
      std::unique_ptr<MemoryAllocatorFactory>) override {
    return absl::UnimplementedError("this engine does no input or output");
  }
  ConnectionHandle Connect(OnConnectCallback on_connect, const ResolvedAddress&,
                           const EndpointConfig&, MemoryAllocator, Duration) override {
    Run([on_connect = std::move(on_connect)]() mutable {
      on_connect(absl::UnimplementedError("this engine does no input or output"));
    });
    return {{0, 0}};
  }
  bool CancelConnect(ConnectionHandle) override { return false; }
  std::unique_ptr<DNSResolver> GetDNSResolver(const DNSResolver::ResolverOptions&) override {
    return nullptr;
  }

 private:
  // Refused: the tasks wait, and the next one tries again.
  void StartThread() {
    MutexLock lock(mutex_);
    if (started_) return;
    Status status = Thread::StartDetached("mf-grpc", [tasks = tasks_] { tasks->Run(); });
    started_ = status.ok();
    if (!started_)
      LOG(kWarn, "the store's client and server wait for a thread: {}", status.message());
  }

  const std::shared_ptr<Tasks> tasks_ = std::make_shared<Tasks>();  // shared with the thread
  Mutex mutex_;
  bool started_ GUARDED_BY(mutex_) = false;
};

}  // namespace

void UseOwnGrpcEngine() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc_event_engine::experimental::SetEventEngineFactory(
        [] { return std::make_unique<OneThreadEngine>(); });
  });
}

}  // namespace memfabric::store
