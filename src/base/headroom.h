// base/headroom.h: whether the machine would give this process what a library needs. Some libraries
// end the process, or hang, when they are refused it.
//
// All is taken at once and given back, so the answer holds for the moment only.
//
// Threads: any.

#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"

namespace memfabric {

struct Headroom {
  unsigned threads = 0;  // with the process's stack size
  unsigned descriptors = 0;
  std::size_t address_bytes = 0;  // besides the threads'
};

// OutOfMemory: says what `purpose` ("the store's client") needs and which limit refuses it, with
// its value.
Status CheckHeadroom(const Headroom& needed, std::string_view purpose);

}  // namespace memfabric
