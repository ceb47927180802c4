// store/embedded/listen_address.h: which of this host's addresses a name to listen on means, and
// whether they are free.

#pragma once

#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "base/url.h"

namespace memfabric::store {

// The numeric addresses that `listen` means; every one can be listened on now. With port 0 only the
// first. A name that leads to loopback only, though it doesn't say so ("localhost"), means all
// addresses of this host that other hosts may reach as well. NotFound: it can't be resolved, or is
// none of this host's. InUse: something else has the port.
Result<std::vector<HostPort>> FindListenAddresses(const HostPort& listen);

struct Listening {
  UniqueFd fd;  // doesn't block
  std::uint16_t port = 0;
};
// On one of those. InUse as above.
Result<Listening> ListenOn(const HostPort& address);

}  // namespace memfabric::store
