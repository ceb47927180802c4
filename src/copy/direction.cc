#include "copy/direction.h"

#include <array>

namespace memfabric::copy {
namespace {

struct Row {
  std::string_view name;
  DirectionRules rules;
};

constexpr std::array<Row, kDirections> kRows{{
    {"L2G", {SideRule::kAny, SideRule::kPool}},
    {"G2L", {SideRule::kPool, SideRule::kAny}},
    {"G2H", {SideRule::kPool, SideRule::kAny}},
    {"H2G", {SideRule::kAny, SideRule::kPool}},
    {"L2GH", {SideRule::kAny, SideRule::kHostPool}},
    {"GH2L", {SideRule::kHostPool, SideRule::kAny}},
    {"GH2H", {SideRule::kHostPool, SideRule::kAny}},
    {"H2GH", {SideRule::kAny, SideRule::kHostPool}},
    {"G2G", {SideRule::kPool, SideRule::kPool}},
    {"AUTO", {SideRule::kAny, SideRule::kAny}},
}};

}  // namespace

std::string_view DirectionName(Direction direction) {
  auto index = static_cast<std::size_t>(direction);
  return index < kRows.size() ? kRows[index].name : "?";
}

const DirectionRules& RulesOf(Direction direction) {
  return kRows[static_cast<std::size_t>(direction)].rules;
}

}  // namespace memfabric::copy
