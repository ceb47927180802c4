#include "base/timed_wait.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace memfabric {
namespace {

// so that no sum overflows; callers wait again
constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(24);
constexpr long kSecond = 1'000'000'000;

}  // namespace

void WaitOn(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, TimePoint until) {
  const TimePoint now = std::chrono::steady_clock::now();
  if (until <= now) return;
  const auto left = until > now + kLongest ? kLongest : std::chrono::nanoseconds(until - now);
  timespec end{};
  ::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &end);
  end.tv_sec += static_cast<time_t>(left.count() / kSecond);
  end.tv_nsec += static_cast<long>(left.count() % kSecond);
  if (end.tv_nsec >= kSecond) {
    end.tv_nsec -= kSecond;
    ++end.tv_sec;
  }
  ::pthread_cond_clockwait(changed.native_handle(), lock.mutex()->native_handle(), CLOCK_MONOTONIC,
                           &end);
}

}  // namespace memfabric
