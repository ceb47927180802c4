#include "base/clock.h"

#include <ctime>

namespace memfabric {
namespace {

constexpr std::chrono::milliseconds kLongestTick{10};  // HZ=100

class MonotonicClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  void WaitUntil(Mutex& mutex, CondVar& changed, TimePoint until) override REQUIRES(mutex) {
    changed.WaitUntil(mutex, until);
  }
};

}  // namespace

Deadline CoarseDeadline(std::chrono::nanoseconds timeout) {
  timespec tick{};
  // steady_clock's time, as it was at the last tick
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &tick);
  return TimePoint(std::chrono::seconds(tick.tv_sec) + std::chrono::nanoseconds(tick.tv_nsec)) +
         kLongestTick + timeout;
}

Clock& SteadyClock() {
  static auto* clock = new MonotonicClock;  // never destroyed: threads may ask for the time at exit
  return *clock;
}

}  // namespace memfabric
