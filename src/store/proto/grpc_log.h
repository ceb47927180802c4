// store/proto/grpc_log.h: what gRPC has to say goes to our log, as debugging: whatever matters to
// callers comes back as a Status, and a library must not write to a program's stderr on its own. No
// state; any thread.

#pragma once

namespace memfabric::store {

// Before the first channel or server of the process; again does no harm.
void RouteGrpcLog();

}  // namespace memfabric::store
