// capi/codes.h: the one place where kinds of failures become the public codes
// (docs/contract/python.md §6).

#pragma once

#include <cstdint>

#include "base/status.h"

namespace memfabric::capi {

std::int32_t CodeOf(Kind kind);

}  // namespace memfabric::capi
