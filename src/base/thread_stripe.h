// base/thread_stripe.h: which of 2^kBits stripes a thread uses, where what many threads write is
// spread over cache lines.

#pragma once

#include <cstddef>
#include <cstdint>

namespace memfabric {

constexpr std::size_t kCacheLineBytes = 64;

// Always the same on one thread; several threads may share one.
template <unsigned kBits>
std::size_t StripeOfThread() {
  static thread_local const char marker = 0;  // its address tells threads apart
  return (reinterpret_cast<std::uintptr_t>(&marker) * 0x9e37'79b9'7f4a'7c15ULL) >> (64 - kBits);
}

}  // namespace memfabric
