#include "runtime/runtime.h"

#include <algorithm>
#include <thread>

#include "base/descriptor_limit.h"

namespace memfabric {
namespace {

// more threads than 8 gain nothing on one memory controller's bandwidth
constexpr unsigned kMostHelpers = 7;

}  // namespace

Runtime::Runtime(std::unique_ptr<transport::Reactor> reactor,
                 std::vector<std::unique_ptr<transport::Transport>> transports,
                 std::unique_ptr<DeviceBackend> devices, unsigned helpers)
    : reactor_(std::move(reactor)),
      transports_(std::move(transports)),
      devices_(std::move(devices)),
      team_(helpers) {}

Result<std::unique_ptr<Runtime>> Runtime::Create() {
  RaiseDescriptorLimit();
  ASSIGN_OR_RETURN(auto reactor, transport::Reactor::Create());
  auto transports = AvailableTransports(*reactor);
  unsigned processors = std::max(1u, std::thread::hardware_concurrency());
  return std::make_unique<Runtime>(std::move(reactor), std::move(transports), AvailableDevices(),
                                   std::min(processors - 1, kMostHelpers));
}

}  // namespace memfabric
