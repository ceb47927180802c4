// bm/events.h: tells the user who comes and goes, in order, from the runtime's callback thread.
//
// Threads: any. Set waits for a call that is under way, unless it comes from the handler itself; so does Close, after which
// no call follows.

#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "address/global_address.h"
#include "copy/queue.h"

namespace memfabric::bm {

enum class GroupEvent { kJoin = 0, kLeave = 1 };
using GroupEventHandler = std::function<void(Rank, GroupEvent)>;

// Whether this thread is in a handler right now: what waits for the callback thread must not run there.
bool InEventHandler();

class Events {
 public:
  // `queue` outlives this object.
  explicit Events(copy::Queue& queue);
  ~Events() { Set(nullptr); }

  void Set(GroupEventHandler handler);
  void Tell(Rank rank, GroupEvent event);

 private:
  struct State {  // shared with the calls that are queued: they may outlive the pool, and then find no handler
    std::mutex mutex;
    std::condition_variable returned;
    GroupEventHandler handler;
    std::thread::id running;  // the thread that is in the handler
  };
  copy::Queue& queue_;
  std::shared_ptr<State> state_;
};

}  // namespace memfabric::bm
