#include "store/proto/grpc_start.h"

#include <absl/synchronization/mutex.h>
#include <grpc/grpc.h>
#include <unistd.h>

#include <algorithm>

#include "base/headroom.h"
#include "base/units.h"
#include "store/proto/grpc_engine.h"
#include "store/proto/grpc_log.h"

namespace memfabric::store {
namespace {

// Of gRPC 1.51: two executors, two for timers, ours for its tasks; then what a client of ours
// starts (input and output, session), and two to spare.
constexpr unsigned kGrpcThreads = 5;
constexpr unsigned kClientThreads = 4;
// Pollers of the server's completion queue: half the processors, within these bounds. Then our
// listener's and leases' threads.
constexpr unsigned kFewestPollers = 2;
constexpr unsigned kMostPollers = 16;
constexpr unsigned kServerThreads = 3;
// epoll sets, their wake-ups, sockets; a server's first clients
constexpr unsigned kDescriptors = 20;
constexpr std::size_t kAddressBytes = 64_MiB;  // an arena of malloc

Headroom Needed(GrpcRole role) {
  Headroom needed{
      .threads = kClientThreads, .descriptors = kDescriptors, .address_bytes = kAddressBytes};
  if (role == GrpcRole::kServer) {
    const auto processors = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_CONF)));
    needed.threads = kServerThreads + std::clamp(processors / 2, kFewestPollers, kMostPollers);
  }
  if (grpc_is_initialized() == 0) needed.threads += kGrpcThreads;
  return needed;
}

}  // namespace

Status PrepareGrpc(GrpcRole role) {
  RouteGrpcLog();
  UseOwnGrpcEngine();
  // Debian's abseil is built with its detection of deadlocks, which every lock of gRPC then pays
  // for.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return CheckHeadroom(Needed(role), role == GrpcRole::kClient ? "the connection to the store"
                                                               : "serving the store");
}

}  // namespace memfabric::store
