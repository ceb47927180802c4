// store/recipes/host_identity.h: what makes two processes be on the same host (docs/design.md "Data
// paths" 3).

#pragma once

#include <string>
#include <string_view>

namespace memfabric::store {

// Boot id + network namespace, or MEMFABRIC_HOST_ID. Computed at each call.
std::string HostIdentity();
// "boot id/network namespace", whatever the environment says.
std::string BootAndNetwork();
// What tells this host from another one with an equal identity (cloned machines, an equal
// MEMFABRIC_HOST_ID): "boot/netns", then its addresses. Told in records by who wants to be taken
// for dead as soon as nobody serves its socket here.
std::string HostWitness();
// Whether a witness is of this host. False also for one that had an address which this host has no
// more: then a lease decides.
bool IsThisHost(std::string_view witness);
// gethostname, for people.
std::string HostName();

}  // namespace memfabric::store
