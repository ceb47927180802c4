// base/backoff.h: how long to wait before the next try of what keeps failing.
//
// Each wait is twice the one before, up to a longest, less up to a half of it at random: who failed
// at the same moment doesn't try again at the same moment.
//
// Owner: who tries. Threads: one at a time.

#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace memfabric {

class Backoff {
 public:
  // `seed`: std::random_device's, except in tests. REQUIRES: 0 < first <= last.
  Backoff(std::chrono::milliseconds first, std::chrono::milliseconds last,
          std::uint32_t seed = std::random_device()());

  std::chrono::milliseconds Next();
  void Reset() { wait_ = first_; }  // it worked

 private:
  const std::chrono::milliseconds first_;
  const std::chrono::milliseconds last_;
  std::chrono::milliseconds wait_;
  std::minstd_rand random_;
};

}  // namespace memfabric
