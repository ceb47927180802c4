// copy/slot_finder.h: PoolLayout::Locate for the hot path: a multiplication in place of the
// division. A value, any thread.

#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "address/pool_layout.h"

namespace memfabric::copy {

class SlotFinder {
 public:
  explicit SlotFinder(const PoolLayout& layout)
      : max_bytes_(layout.max_bytes), device_bytes_(layout.ZoneBytes(Zone::kDevice)) {
    for (std::size_t zone = 0; zone < kZones; ++zone) {
      if (max_bytes_[zone] == 0) continue;
      // rank = offset / max = (offset >> shift) / odd, and with reciprocal = ceil(2^63 / odd) that
      // is
      // (2 * (offset >> shift) * reciprocal) >> 64, exact while (offset >> shift) * odd < 2^63.
      shift_[zone] = static_cast<unsigned>(std::countr_zero(max_bytes_[zone]));
      std::uint64_t odd = max_bytes_[zone] >> shift_[zone];
      auto largest = static_cast<unsigned __int128>(odd) * odd * layout.world_size;
      if (largest < kTwoTo63) reciprocal_[zone] = (kTwoTo63 + odd - 1) / odd;
    }
  }

  // The slot at an offset from the window's begin. REQUIRES: inside the window.
  SlotOffset Find(std::uint64_t offset) const {
    Zone zone = offset < device_bytes_ ? Zone::kDevice : Zone::kHost;
    std::uint64_t in_zone = zone == Zone::kDevice ? offset : offset - device_bytes_;
    std::uint64_t max = max_bytes_[Index(zone)];
    std::uint64_t reciprocal = reciprocal_[Index(zone)];
    std::uint64_t rank = 0;
    if (reciprocal != 0) [[likely]] {
      std::uint64_t units = in_zone >> shift_[Index(zone)];
      rank = static_cast<std::uint64_t>((static_cast<unsigned __int128>(units << 1) * reciprocal) >>
                                        64);
    } else {
      rank = in_zone / max;
    }
    return {zone, static_cast<Rank>(rank), in_zone - rank * max};
  }

  std::uint64_t max_bytes(Zone zone) const { return max_bytes_[Index(zone)]; }

 private:
  static constexpr std::uint64_t kTwoTo63 = 1ULL << 63;

  std::array<std::uint64_t, kZones> max_bytes_;
  std::uint64_t device_bytes_;
  std::array<std::uint64_t, kZones> reciprocal_{};  // 0: divide
  std::array<unsigned, kZones> shift_{};
};

}  // namespace memfabric::copy
