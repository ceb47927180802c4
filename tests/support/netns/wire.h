// tests/support/netns/wire.h: an Ethernet in user space between TAP devices that treats frames as
// badly as it is told: loses, delays, reorders, duplicates, squeezes and cuts. Not every kernel has
// netem, and this can also cut between two hosts only.
//
// Owner: Hosts. Threads: any; it has one of its own, which ends with it.

#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace memfabric::netns {

constexpr int kWireMtu = 9000;

// "02:00:00:00:00:01" for host 0: locally administered, so nobody's.
std::string HardwareAddress(int host);

// What happens to each frame, by chance where it is a share (0 to 1).
struct Treatment {
  double lost = 0;
  double duplicated = 0;
  std::chrono::microseconds delay{0};
  std::chrono::microseconds jitter{0};  // added, evenly spread: frames overtake each other
  std::uint64_t bytes_per_second = 0;   // 0: as fast as it goes
};

class Wire {
 public:
  explicit Wire(std::vector<UniqueFd> taps);
  ~Wire();

  void Treat(const Treatment& treatment);
  // Nothing passes between the two, either way, until Heal.
  void Cut(int a, int b);
  // All cuts end.
  void Heal();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Frame {
    TimePoint due;
    std::uint64_t number;  // keeps the order among those due at once
    int to;
    std::vector<char> bytes;
    bool operator<(const Frame& other) const {
      return std::pair(due, number) > std::pair(other.due, other.number);
    }
  };

  void Run();
  void Take(int from, TimePoint now);
  void Queue(int from, int to, const std::vector<char>& bytes, TimePoint now);  // REQUIRES: mutex_
  void SendDue(TimePoint now);

  const std::vector<UniqueFd> taps_;
  UniqueFd wake_;
  std::priority_queue<Frame> frames_;  // the thread's own, as the next three
  std::vector<TimePoint> free_at_;     // when the line to a host has sent what is on it
  std::uint64_t next_number_ = 0;
  std::minstd_rand random_{1};  // the same in every run
  std::mutex mutex_;            // guards what follows
  Treatment treatment_;
  std::set<std::pair<int, int>> cuts_;  // smaller host first
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace memfabric::netns
