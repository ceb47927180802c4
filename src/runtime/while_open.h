// runtime/while_open.h: a call on what another thread may destroy meanwhile. No state; any thread.

#pragma once

#include <atomic>
#include <type_traits>

#include "base/status.h"
#include "base/wait.h"

namespace memfabric {

// Returns call(), whose waits end soon after `closing` has become true; destroyed() instead, if
// it has failed because of that.
template <typename Call, typename Destroyed>
auto WhileOpen(const std::atomic<bool>& closing, Call&& call, Destroyed&& destroyed)
    -> decltype(call()) {
  CancelScope scope(closing);
  auto result = call();
  if (!closing) return result;
  // What is closed takes its links with it.
  auto comes_of_it = [](const Status& status) {
    return IsInterrupted(status) || IsDisconnected(status);
  };
  if constexpr (std::is_same_v<decltype(result), Status>) {
    if (comes_of_it(result)) return destroyed();
  } else {
    if (comes_of_it(result.status())) return destroyed();
  }
  return result;
}

}  // namespace memfabric
