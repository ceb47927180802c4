// base/core_dump.h: what stays out of core dumps. Any thread.

#pragma once

#include <cstddef>

namespace memfabric {

// Leaves a mapping out of this process's core dumps, unless MEMFABRIC_DUMP_MEMORY=1. A dump of
// shared memory would hold every peer's, and would allocate what nobody has touched. The kernel
// keeps the wish with the mapping: one that replaces it needs its own call. REQUIRES: the range is
// mapped, page-aligned.
void LeaveOutOfCoreDumps(void* address, std::size_t size_bytes);

}  // namespace memfabric
