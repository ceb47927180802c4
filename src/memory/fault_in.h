// memory/fault_in.h: backs mapped memory now instead of at its first touch. Keeps its contents.
//
// Threads: any, one call a range; it starts as many threads as this process may use processors, and
// joins them.

#pragma once

#include <cstddef>

#include "base/status.h"

namespace memfabric {

// OutOfMemory or IoError say what the kernel said; Interrupted when the caller's interrupt check
// asks for it (base/wait.h). Pages that were backed by then stay. REQUIRES: the range is mapped
// readable and writable, page-aligned, and the memory is there (memory_room.h): beyond it the
// kernel doesn't fail, it kills.
Status FaultIn(std::byte* begin, std::size_t size_bytes);

}  // namespace memfabric
