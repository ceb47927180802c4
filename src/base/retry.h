// base/retry.h: system calls that a signal interrupts. A profiler's timer interrupts whatever the
// program waits in, a thousand times a second, and means nothing by it.
//
// Waits with a time-out of their own (poll, epoll_wait, futex) don't go through here unless it is
// 0: their callers compute what is left from a deadline, or a timer would make them endless.
// close() isn't called again either: the descriptor is gone.
//
// No state; any thread.

#pragma once

#include <cerrno>
#include <utility>

namespace memfabric {

// The result of `call()`, which is made again as long as it says -1 and EINTR.
template <typename Call>
auto RetryOnSignal(Call&& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

}  // namespace memfabric
