// address/pool_layout.h: where each rank's slots lie in a pool's window. Arithmetic only; a value,
// any thread.
//
//   base                                   base + world_size * max_bytes[device]
//   | device slot of rank 0 | rank 1 | … | host slot of rank 0 | rank 1 | … |
//
// A slot is as large as the pool's max for its zone; a rank may contribute less. docs/addressing.md
// has the picture.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "address/global_address.h"
#include "base/status.h"
#include "base/units.h"

namespace memfabric {

// What a rank may contribute at most (docs/contract/python.md §2), and the unit of every size.
// Indexed by Index(zone).
constexpr std::array<std::uint64_t, kZones> kMaxZoneBytes{64_GiB, 2_TiB};
constexpr std::uint64_t kSizeUnit = kHugePageBytes;

struct SlotOffset {
  Zone zone;
  Rank rank;
  std::uint64_t offset;  // from the slot's begin
  bool operator==(const SlotOffset&) const = default;
};

struct PoolLayout {
  std::uint64_t base = 0;
  std::uint32_t world_size = 0;
  std::array<std::uint64_t, kZones> max_bytes{};  // a rank, indexed by Index(zone)

  // InvalidArgument when the window would be empty or would not fit 63 bits, a size is above its
  // limit or no multiple of kSizeUnit, or world_size is out of range. The other functions are for
  // layouts that are valid.
  Status Validate() const;

  std::uint64_t ZoneBytes(Zone zone) const { return world_size * max_bytes[Index(zone)]; }
  std::uint64_t WindowBytes() const { return ZoneBytes(Zone::kDevice) + ZoneBytes(Zone::kHost); }

  // From the window's begin. REQUIRES: rank < world_size.
  std::uint64_t SlotBegin(Zone zone, Rank rank) const {
    return (zone == Zone::kHost ? ZoneBytes(Zone::kDevice) : 0) + rank * max_bytes[Index(zone)];
  }
  GlobalAddress SlotAddress(Zone zone, Rank rank) const { return {base + SlotBegin(zone, rank)}; }

  bool Contains(GlobalAddress address) const { return address.value - base < WindowBytes(); }
  // The slot that holds `address`; none outside the window.
  std::optional<SlotOffset> Locate(GlobalAddress address) const;

  // For messages: how many ranks of these sizes, or which sizes with this many ranks, go into
  // `free_bytes`.
  std::string WhatFits(std::uint64_t free_bytes) const;

  bool operator==(const PoolLayout&) const = default;
};

}  // namespace memfabric
