// address/global_address.h: the numbers that name bytes of a pool, equal in every process.

#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace memfabric {

using Rank = std::uint32_t;
constexpr Rank kNoRank = 0xffff'ffff;
constexpr std::uint32_t kMaxWorldSize = 1024;  // docs/contract/python.md §2

// The two halves of a pool. The order is the order in the address space.
// The values travel in frames and messages.
enum class Zone : std::uint8_t { kDevice = 0, kHost = 1 };
constexpr std::size_t kZones = 2;
constexpr std::array<Zone, kZones> kAllZones{Zone::kDevice, Zone::kHost};
constexpr std::size_t Index(Zone zone) { return static_cast<std::size_t>(zone); }
constexpr std::string_view ZoneName(Zone zone) { return zone == Zone::kDevice ? "device" : "host"; }

struct GlobalAddress {
  std::uint64_t value = 0;
  auto operator<=>(const GlobalAddress&) const = default;
};

}  // namespace memfabric
