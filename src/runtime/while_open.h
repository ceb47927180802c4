// runtime/while_open.h: a call on what another thread may destroy meanwhile. No state; any thread.

#pragma once

#include <atomic>
#include <type_traits>

#include "base/status.h"
#include "base/wait.h"

namespace memfabric {

// Returns call(), whose waits end soon after `closing` has become true; destroyed() instead, if
// they have ended for that.
template <typename Call, typename Destroyed>
auto WhileOpen(const std::atomic<bool>& closing, Call&& call, Destroyed&& destroyed)
    -> decltype(call()) {
  CancelScope scope(closing);
  auto result = call();
  if (!closing) return result;
  if constexpr (std::is_same_v<decltype(result), Status>) {
    if (IsInterrupted(result)) return destroyed();
  } else {
    if (IsInterrupted(result.status())) return destroyed();
  }
  return result;
}

}  // namespace memfabric
