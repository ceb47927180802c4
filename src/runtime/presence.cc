#include "runtime/presence.h"

#include "base/environment.h"
#include "base/next_best.h"

namespace memfabric {

transport::NetworkOptions NetworkOf(const StoreUrl& store, std::string nic, bool encrypt) {
  transport::NetworkOptions network;
  network.nic = std::move(nic);
  if (!store.endpoints.empty()) network.near_host = store.endpoints.front().host;
  network.encrypt = encrypt || EnvironmentAsks("MEMFABRIC_DATA_TLS");
  return network;
}

Result<transport::Ports> OpenZonePorts(Runtime& runtime, const transport::PortOptions& options) {
  transport::Ports ports;
  for (const auto& transport : runtime.transports()) {
    if (!transport->capabilities().zones) continue;
    ASSIGN_OR_RETURN(auto port, transport->Open(options));
    ports.emplace_back(transport.get(), std::move(port));
  }
  return ports;
}

Status TakeBestPath(Runtime& runtime, std::uint32_t op, std::string_view what,
                    bool (*serve)(const transport::Capabilities&)) {
  std::string names;
  for (const auto& transport : runtime.transports()) {
    if (!serve(transport->capabilities())) continue;
    names += (names.empty() ? "" : ", ") + std::string(transport->name());
  }
  return UseNextBest(
      fmt::format("data_op_type {} asks for a path that this machine doesn't have", PathOpName(op)),
      fmt::format("{} take the best of: {}", what, names));
}

}  // namespace memfabric
