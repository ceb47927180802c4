// base/headroom.h: whether the machine would give this process what a library needs that ends the
// process, or hangs, without it.
//
// It takes all at once and gives it back, so the answer holds for the moment and not for long.
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
