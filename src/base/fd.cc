#include "base/fd.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace memfabric {
namespace {

// the kernel's usual hard limit (fs.nr_open); higher numbers aren't closed in children
constexpr int kTrackedFds = 1 << 20;
constexpr int kBits = 64;
std::array<std::atomic<std::uint64_t>, kTrackedFds / kBits> owned;

void Mark(int fd, bool ours) {
  if (fd < 0 || fd >= kTrackedFds) return;
  std::uint64_t bit = 1ULL << (fd % kBits);
  if (ours) {
    owned[fd / kBits].fetch_or(bit, std::memory_order_relaxed);
  } else {
    owned[fd / kBits].fetch_and(~bit, std::memory_order_relaxed);
  }
}

}  // namespace

UniqueFd::UniqueFd(int fd) : fd_(fd) { Mark(fd, true); }

int UniqueFd::Release() {
  Mark(fd_, false);
  return std::exchange(fd_, -1);
}

void UniqueFd::Reset() {
  if (fd_ >= 0) ::close(Release());
}

void CloseOwnedFdsAfterFork() {
  for (std::size_t word = 0; word < owned.size(); ++word) {
    for (auto bits = owned[word].exchange(0, std::memory_order_relaxed); bits != 0;
         bits &= bits - 1)
      ::close(static_cast<int>(word) * kBits + std::countr_zero(bits));
  }
}

}  // namespace memfabric
