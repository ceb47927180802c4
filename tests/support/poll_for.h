// tests/support/poll_for.h: poll() that goes on after a signal, for as long as it was asked to and
// no longer.

#pragma once

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <span>

namespace memfabric {

// As poll(); never -1 with EINTR.
inline int PollFor(std::span<pollfd> entries, std::chrono::milliseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const int ready =
        ::poll(entries.data(), entries.size(), static_cast<int>(std::max<long>(left.count(), 0)));
    if (ready >= 0 || errno != EINTR) return ready;
  }
}

}  // namespace memfabric
