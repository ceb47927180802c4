#include "base/clock.h"

namespace memfabric {
namespace {

class MonotonicClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  void WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, TimePoint until) override {
    changed.wait_until(lock, until);
  }
};

}  // namespace

Clock& SteadyClock() {
  static auto* clock = new MonotonicClock;  // never destroyed: threads may ask for the time at exit
  return *clock;
}

}  // namespace memfabric
