#include "bm/events.h"

#include <utility>

namespace memfabric::bm {
namespace {

thread_local bool in_event_handler = false;

}  // namespace

bool InEventHandler() { return in_event_handler; }

Events::Events(copy::Queue& queue) : queue_(queue), state_(std::make_shared<State>()) {}

void Events::Set(GroupEventHandler handler) {
  std::unique_lock lock(state_->mutex);
  std::swap(state_->handler, handler);
  if (state_->running == std::this_thread::get_id()) return;
  state_->returned.wait(lock, [&] { return state_->running == std::thread::id(); });
}

void Events::Tell(Rank rank, GroupEvent event) {
  {
    std::lock_guard lock(state_->mutex);
    if (!state_->handler) return;
  }
  queue_.Submit([state = state_, rank, event] {
    GroupEventHandler handler;
    {
      std::lock_guard lock(state->mutex);
      if (!state->handler) return Ok();
      handler = state->handler;
      state->running = std::this_thread::get_id();
    }
    in_event_handler = true;
    handler(rank, event);
    in_event_handler = false;
    handler = nullptr;  // what it holds goes while it still counts as running
    std::lock_guard lock(state->mutex);
    state->running = std::thread::id();
    state->returned.notify_all();
    return Ok();
  });
}

}  // namespace memfabric::bm
