// copy/direction.h: which side of a copy is the pool's, as the public API names it
// (docs/contract/python.md §2).

#pragma once

#include <cstdint>
#include <string_view>

namespace memfabric::copy {

// The values are the C ABI's.
enum class Direction : std::uint8_t {
  kL2G = 0,
  kG2L = 1,
  kG2H = 2,
  kH2G = 3,
  kL2GH = 4,
  kGH2L = 5,
  kGH2H = 6,
  kH2GH = 7,
  kG2G = 8,
  kAuto = 9,
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
