// bm/events.h: tells the user of a pool who comes and goes.

#pragma once

#include <functional>

#include "address/global_address.h"
#include "runtime/user_callback.h"

namespace memfabric::bm {

// The values are the C ABI's.
enum class GroupEvent { kJoin = 0, kLeave = 1 };
using Events = UserCallback<Rank, GroupEvent>;
using GroupEventHandler = std::function<void(Rank, GroupEvent)>;

}  // namespace memfabric::bm
