// shm/values.h: numbers that one rank at a time owns (atomic_alloc_value): cells in rank 0's
// control memory, each 0 or its owner's rank + 1. Those of a rank that has gone are free. No state
// here; any thread.

#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/status.h"
#include "group/members.h"

namespace memfabric::shm {

// The lowest free number below `limit`, which is this rank's from Ok on. InUse: there is none.
Result<std::uint32_t> AllocateValue(group::Members& members, std::uint32_t limit,
                                    Deadline deadline);
// NotFound: it is not this rank's.
Status ReleaseValue(group::Members& members, std::uint32_t value, Deadline deadline);

}  // namespace memfabric::shm
