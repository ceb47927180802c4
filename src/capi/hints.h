// capi/hints.h: bits of flags that this release doesn't know are hints for another one
// (docs/contract/python.md §0). Any thread.

#pragma once

#include <cstdint>

#include "base/log.h"

namespace memfabric::capi {

// `bits` as far as `known`; the others get a debug line that names them and the argument.
inline std::uint32_t WithoutHints(const char* argument, std::uint32_t bits, std::uint32_t known) {
  if ((bits & ~known) != 0) [[unlikely]]
    LOG(kDebug, "{} {:#x}: the bits {:#x} are not known and ignored", argument, bits,
        bits & ~known);
  return bits & known;
}

}  // namespace memfabric::capi
