// copy/direction.h: which side of a copy is the pool's, as the public API names it (API.md §2).

#pragma once

#include <cstdint>
#include <string_view>

namespace memfabric::copy {

enum class Direction : std::uint8_t { kL2G = 0, kG2L, kG2H, kH2G, kL2GH, kGH2L, kGH2H, kH2GH, kG2G, kAuto };
constexpr std::uint32_t kDirections = 10;

std::string_view DirectionName(Direction direction);  // "H2G"

}  // namespace memfabric::copy
