// base/next_best.h: what happens when a caller asks for something that this machine doesn't have:
// the next best is used and a warning says so; with MEMFABRIC_STRICT=1 it is an error instead
// (docs/contract/python.md §2). Any thread.

#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace memfabric {

// `missing`: "data_op_type HOST_RDMA asks for a path that this machine doesn't have". `used`: "it
// has: mapped, tcp". Unsupported with MEMFABRIC_STRICT=1, else Ok after a warning.
Status UseNextBest(std::string_view missing, std::string_view used);

// The name of a path that Big Memory and engines are asked for by BmDataOpType and TransDataOpType:
// "HOST_RDMA".
std::string_view PathOpName(std::uint32_t op);

}  // namespace memfabric
