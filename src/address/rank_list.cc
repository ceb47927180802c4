#include "address/rank_list.h"

#include <fmt/format.h>

#include <algorithm>

namespace memfabric {

std::string ListOf(std::span<const Rank> ranks) {
  constexpr std::size_t kMostNamed = 16;
  const auto named = ranks.first(std::min(ranks.size(), kMostNamed));
  return fmt::format("{}{}", fmt::join(named, ", "), named.size() < ranks.size() ? ", …" : "");
}

}  // namespace memfabric
