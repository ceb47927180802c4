// address/rank_list.h: ranks in messages to people. No state; any thread.

#pragma once

#include <span>
#include <string>

#include "address/global_address.h"

namespace memfabric {

// "1, 2, 5", of more than 16 the first, with "…" behind them.
std::string ListOf(std::span<const Rank> ranks);

}  // namespace memfabric
