#include "base/backoff.h"

#include <algorithm>

namespace memfabric {

using std::chrono::milliseconds;

Backoff::Backoff(milliseconds first, milliseconds last, std::uint32_t seed)
    : first_(first), last_(last), wait_(first), random_(seed) {}

milliseconds Backoff::Next() {
  const milliseconds longest = wait_;
  wait_ = std::min(2 * wait_, last_);
  return milliseconds(std::uniform_int_distribution<std::int64_t>((longest.count() + 1) / 2,
                                                                  longest.count())(random_));
}

}  // namespace memfabric
