// transport/tcp/listen.h: at which address of this machine a port listens, and the socket that does. No state; any thread.

#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "base/url.h"
#include "transport/transport.h"

namespace memfabric::transport::tcp {

// An address of an interface of this network namespace.
struct InterfaceAddress {
  std::string interface;
  std::string host;  // numeric
  bool up = false;
  bool loopback = false;
};
Result<std::vector<InterfaceAddress>> InterfaceAddresses();

// What NetworkOptions::nic and near_host mean on this machine; port 0: any.
// InvalidArgument: no interface, address or subnet of this machine, with those that there are.
Result<HostPort> ChooseAddress(const NetworkOptions& options);

struct Listener {
  UniqueFd socket;
  HostPort address;  // with the port that it got
};
// InUse names the port's owner where this process may see it.
Result<Listener> Listen(const HostPort& address);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size_bytes = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};
// REQUIRES: a numeric host.
SocketAddress ToSocketAddress(const HostPort& address);
HostPort FromSocketAddress(const sockaddr* address);

}  // namespace memfabric::transport::tcp
