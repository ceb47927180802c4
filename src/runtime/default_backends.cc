// The only file that names every backend. To add a transport: link its target in CMakeLists.txt and
// list it here, in the order of preference.

#include "memory/host/devices.h"
#include "runtime/runtime.h"
#include "store/recipes/host_identity.h"
#include "transport/cma/cma_transport.h"
#include "transport/mapped/mapped_transport.h"
#include "transport/tcp/tcp_transport.h"

namespace memfabric {

std::vector<std::unique_ptr<transport::Transport>> AvailableTransports(
    transport::Reactor& reactor) {
  std::vector<std::unique_ptr<transport::Transport>> transports;
  transports.push_back(
      std::make_unique<transport::MappedTransport>(reactor, store::HostIdentity()));
  transports.push_back(std::make_unique<transport::CmaTransport>(reactor, store::HostIdentity()));
  transports.push_back(std::make_unique<transport::TcpTransport>(reactor));
  return transports;
}

std::unique_ptr<DeviceBackend> AvailableDevices() { return host::MakeDevices(); }

}  // namespace memfabric
