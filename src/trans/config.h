// trans/config.h: what callers say to an engine, checked, and where it follows from that that
// engines find each other. Values; any thread.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "base/url.h"
#include "store/tls/credentials.h"
#include "trans/rpc_port.h"

namespace memfabric::trans {

// The values are the C ABI's.
enum class Role : std::uint8_t { kNone = 0, kSender = 1, kReceiver = 2, kBoth = 3 };
std::string_view RoleName(Role role);

struct EngineOptions {
  std::string store_url;
  std::string unique_id;
  Role role = Role::kBoth;
  std::uint32_t device_id = 0;
  std::uint32_t op = 1;      // TransDataOpType
  bool start_store = false;  // serve the store at store_url if that is this host's and nobody does
  std::chrono::seconds timeout{120};
  std::string nic;
  // that it shall have; null: one is taken when it is asked for. Shared with who took it
  std::shared_ptr<RpcPort> port;
  // of the store's connections; null: none. Shared with them
  std::shared_ptr<const store::TlsCredentials> tls{};
};

// InvalidArgument names the value and the limit.
Status Check(const EngineOptions& options);
// 1 to 255 printable characters without '/'.
Status CheckName(const std::string& unique_id);

// Where an engine and its peers are found.
struct EnginePlace {
  std::string name;  // what peers call the engine
  // no shared store: each engine serves its record at its own address, which is its name
  bool own_directory = false;
  // own directory, and unique_id is a host without a port: `name` and `url` lack theirs
  bool needs_port = false;
  StoreUrl url;
};
Result<EnginePlace> PlaceOf(const EngineOptions& options);
// The same with the port that was missing.
EnginePlace WithPort(EnginePlace place, std::uint16_t port);

// How long a transfer waits for a peer that isn't known to appear: 5 s, or MEMFABRIC_PEER_TIMEOUT.
std::chrono::seconds PeerTimeout();

}  // namespace memfabric::trans
