// transport/tcp/listen.h: at which address of this machine a port listens, and the socket that
// does. No state; any thread.

#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/addresses.h"
#include "base/fd.h"
#include "base/status.h"
#include "base/url.h"
#include "transport/transport.h"

namespace memfabric::transport::tcp {

// An address of this machine and why it is that one.
struct Choice {
  HostPort address;  // port 0: any; else the first of a range
  std::string why;
};
// What NetworkOptions::nic and near_host mean on this machine.
// InvalidArgument: no interface, address or subnet of this machine, with those that there are.
// NotFound: it has no address.
Result<Choice> ChooseAddress(const NetworkOptions& options);

struct ListeningSocket {
  UniqueFd socket;   // none: this process listens there already
  HostPort address;  // with the port that it got
};
// InUse: taken, or kept from this user; names the port's owner where this process may see it.
Result<ListeningSocket> Listen(const HostPort& address);

// The same at `address.port` + range.own; if that is taken, at the next free one from
// `address.port` + range.spare on, up to 1,024 further. With port 0 at any. InUse: none is free.
// `ours`: ports where this process listens for all of its members. One of them is taken instead of
// another, unless the member's own one is free and peers' firewalls count on it.
Result<ListeningSocket> ListenInRange(const HostPort& address, const PortRange& range,
                                      std::span<const std::uint16_t> ours = {});

}  // namespace memfabric::transport::tcp
