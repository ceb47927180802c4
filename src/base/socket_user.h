// base/socket_user.h: which user of this host owns a TCP socket, as the kernel knows it. Only
// sockets of this network namespace are seen. No state; any thread.

#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"

namespace memfabric {

// The user of the process that holds the other end of a connected TCP socket; none when that isn't
// a process of this host. NotFound: it is on this host, and the kernel doesn't tell whose it is (it
// has closed its socket already, for instance).
Result<std::optional<uid_t>> UserOfPeer(int connected);

// The user of the process that listens at a TCP address; none when the address isn't this host's.
// NotFound: nobody listens there.
Result<std::optional<uid_t>> UserOfListener(const sockaddr_storage& address);

// The same for an address and a port as text; none, too, when `host` is no numeric address.
Result<std::optional<uid_t>> UserOfListener(const std::string& host, std::uint16_t port);

}  // namespace memfabric
