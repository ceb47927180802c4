// transport/tcp/address_trouble.h: what looks wrong about a peer's address, for the message when it
// can't be reached there. No state; any thread.

#pragma once

#include <string>

#include "base/url.h"

namespace memfabric::transport::tcp {

// "; 127.0.0.1 is a loopback address: …", or "" when nothing does. Asks this host's interfaces and
// routes.
std::string AddressTrouble(const HostPort& address);

}  // namespace memfabric::transport::tcp
