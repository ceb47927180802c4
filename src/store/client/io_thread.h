// store/client/io_thread.h: the thread that a client's gRPC operations complete on.
//
// Owner: the client. Threads: Tag may be called from any; what it was given runs on the thread, one
// at a time.

#pragma once

#include <grpcpp/completion_queue.h>

#include <functional>
#include <optional>

#include "base/mutex.h"
#include "base/thread.h"

namespace memfabric::store {

class IoThread {
 public:
  IoThread() : queue_(std::in_place) {}
  ~IoThread();  // REQUIRES: Drain was called, and nothing has been started since.
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  Status Start();  // before all else

  grpc::CompletionQueue* queue() { return &*queue_; }

  // The tag for one operation; `done` runs when it has completed. The operation must be started.
  void* Tag(std::function<void(bool ok)> done);

  // Returns once every operation has completed, with those that its completions have started.
  void Drain();

 private:
  struct Operation;
  void Run();

  std::optional<grpc::CompletionQueue> queue_;  // none only while it ends
  Mutex mutex_;
  CondVar changed_;
  std::size_t pending_ GUARDED_BY(mutex_) = 0;
  Thread thread_;  // last: it uses what is above
};

}  // namespace memfabric::store
