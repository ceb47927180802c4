#include "store/proto/grpc_log.h"

#include <grpc/support/log.h>

#include <mutex>

#include "base/log.h"

namespace memfabric::store {

void RouteGrpcLog() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function([](gpr_log_func_args* line) {
      LOG(kDebug, "gRPC {} ({}:{})", line->message, line->file, line->line);
    });
  });
}

}  // namespace memfabric::store
