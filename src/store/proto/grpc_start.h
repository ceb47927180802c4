// store/proto/grpc_start.h: before a channel or server of gRPC is made: its log, its engine, and
// whether the machine has what it needs. gRPC ends the process or hangs when it is refused a thread
// or descriptor, so that is found out first.
//
// Threads: any.

#pragma once

#include "base/status.h"

namespace memfabric::store {

enum class GrpcRole { kClient, kServer };

// OutOfMemory: names the limit. REQUIRES: before the first object of gRPC of this client or server
// is made.
Status PrepareGrpc(GrpcRole role);

}  // namespace memfabric::store
