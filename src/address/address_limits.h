// address/address_limits.h: why the kernel refuses an address range, for messages. Any thread.

#pragma once

#include <cstdint>

#include "base/status.h"

namespace memfabric {

// What mmap's ENOMEM means here: OutOfMemory that names RLIMIT_AS, vm.max_map_count or the end of
// the address space, with the values. `what` begins the message ("reserving 4 GiB").
Status ExplainMapFailure(std::string_view what, std::uint64_t size_bytes, int error_number);

}  // namespace memfabric
