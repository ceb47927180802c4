// store/proto/grpc_engine.h: where gRPC has its small tasks and timers run: on one thread of ours,
// instead of its own pool, which has at least three, grows with the processors, and ends the
// process when it is refused one.
//
// It does no input or output: of this gRPC (1.51) that isn't asked of an engine. docs/threads.md
//
// Owner: gRPC. Threads: any; tasks run on the engine's, one at a time.

#pragma once

namespace memfabric::store {

// Before gRPC is initialized; again does no harm.
void UseOwnGrpcEngine();

}  // namespace memfabric::store
