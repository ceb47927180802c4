// trans/stream.h: transfers that were submitted: first in, first out, on a thread of the stream's
// own, which starts with the first.
//
// Owner: the library's table of streams; shared with calls. Threads: any.

#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/status.h"
#include "base/work_queue.h"

namespace memfabric::trans {

class TransferStream {
 public:
  void Submit(std::function<Status()> work) { queue_.Submit(std::move(work)); }
  // Waits for what was submitted before; the first error since the last call, once.
  // DeadlineExceeded: it goes on.
  Status Synchronize(Deadline deadline) { return queue_.Wait(deadline); }
  // Whether everything submitted has ended.
  bool Idle() const { return queue_.Idle(); }

 private:
  WorkQueue queue_{"mf-stream"};
};

}  // namespace memfabric::trans
