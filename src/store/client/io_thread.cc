#include "store/client/io_thread.h"

#include <memory>
#include <utility>

namespace memfabric::store {

struct IoThread::Operation {
  std::function<void(bool)> done;
};

Status IoThread::Start() {
  ASSIGN_OR_RETURN(thread_, Thread::Start("mf-store-io", [this] { Run(); }));
  return Ok();
}

IoThread::~IoThread() {
  SignalsBlocked blocked;  // the last of gRPC's objects starts a thread that cleans up
  queue_->Shutdown();
  if (!thread_.started()) Run();
  thread_.Join();
  queue_.reset();
}

void* IoThread::Tag(std::function<void(bool)> done) {
  MutexLock lock(mutex_);
  ++pending_;
  return new Operation{std::move(done)};
}

void IoThread::Drain() {
  MutexLock lock(mutex_);
  while (pending_ > 0) changed_.Wait(mutex_);
}

void IoThread::Run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
    {
      std::unique_ptr<Operation> operation(static_cast<Operation*>(tag));
      // What Tag's caller wrote before is seen here by our own lock: thread sanitizers know nothing
      // of gRPC's.
      { MutexLock lock(mutex_); }
      operation->done(ok);
    }
    MutexLock lock(mutex_);
    if (--pending_ == 0) changed_.NotifyAll();
  }
}

}  // namespace memfabric::store
