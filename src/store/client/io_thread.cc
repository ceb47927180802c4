#include "store/client/io_thread.h"

#include <memory>
#include <utility>

namespace memfabric::store {

struct IoThread::Operation {
  std::function<void(bool)> done;
};

IoThread::IoThread() : thread_([this] { Run(); }) {}

IoThread::~IoThread() {
  queue_.Shutdown();
  thread_.join();
}

void* IoThread::Tag(std::function<void(bool)> done) {
  std::lock_guard lock(mutex_);
  ++pending_;
  return new Operation{std::move(done)};
}

void IoThread::Drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return pending_ == 0; });
}

void IoThread::Run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    {
      std::unique_ptr<Operation> operation(static_cast<Operation*>(tag));
      // What Tag's caller wrote before is seen here by our own lock: thread sanitizers know nothing of gRPC's.
      { std::lock_guard lock(mutex_); }
      operation->done(ok);
    }
    std::lock_guard lock(mutex_);
    if (--pending_ == 0) changed_.notify_all();
  }
}

}  // namespace memfabric::store
