// copy/direction.h: which side of a copy is the pool's, as the public API names it (API.md §2).

#pragma once

#include <cstdint>
#include <string_view>

namespace memfabric::copy {

enum class Direction : std::uint8_t {
  kL2G = 0,
  kG2L,
  kG2H,
  kH2G,
  kL2GH,
  kGH2L,
  kGH2H,
  kH2GH,
  kG2G,
  kAuto
};
constexpr std::uint32_t kDirections = 10;

std::string_view DirectionName(Direction direction);  // "H2G"; "?" for no direction

// What a direction asks of one side.
enum class SideRule : std::uint8_t {
  kAny,       // any memory of this process, or an address of the pool
  kPool,      // an address of the pool
  kHostPool,  // an address of the pool's host zone
};

struct DirectionRules {
  SideRule source;
  SideRule destination;
};

// kAuto is {kAny, kAny}; that one of its sides is the pool's is the caller's to check. REQUIRES: a
// direction.
const DirectionRules& RulesOf(Direction direction);

}  // namespace memfabric::copy
