// base/addresses.h: numeric addresses and this machine's own, as this network namespace has them.
// No state; any thread.
//
// A link-local IPv6 address means something only together with an interface: its text has that as
// its zone, "fe80::1%eth0".

#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/url.h"

namespace memfabric {

// An address of an interface.
struct InterfaceAddress {
  std::string interface;
  std::string host;  // numeric
  bool up = false;
  bool loopback = false;
  bool link_local = false;
  // a bridge of containers or virtual machines, which other hosts have as well
  bool container = false;
};
Result<std::vector<InterfaceAddress>> InterfaceAddresses();
// "eth0 10.0.0.1, lo 127.0.0.1"
std::string ListText(const std::vector<InterfaceAddress>& addresses);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size_bytes = 0;  // 0: none
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};
// None for a host that isn't numeric, or whose zone is no interface of this machine.
SocketAddress ToSocketAddress(const HostPort& address);
HostPort FromSocketAddress(const sockaddr* address);

// 4 or 16 bytes in network order, without the zone; empty for anything but a numeric address.
std::vector<unsigned char> AddressBytes(std::string_view host);
bool IsNumericHost(std::string_view host);
bool IsAnyHost(std::string_view host);  // "0.0.0.0", "::"
// numeric: 127.0.0.0/8, ::1, and the former within IPv6
bool IsLoopbackHost(std::string_view host);
bool IsLinkLocalHost(std::string_view host);
// Whether connect() to that address failed with `error` because no local port is free, and what
// there is to say about it.
bool LacksPort(int error, const SocketAddress& target);
std::string NoPortText();
// Whether the text itself says loopback: such an address, "localhost", or a name under it (RFC
// 6761).
bool NamesLoopback(std::string_view host);

}  // namespace memfabric
