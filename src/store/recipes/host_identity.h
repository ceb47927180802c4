// store/recipes/host_identity.h: what makes two processes be on the same host (DESIGN.md "Data paths" 3).

#pragma once

#include <string>

namespace memfabric::store {

// Boot id + network namespace, or MEMFABRIC_HOST_ID. Computed at each call.
std::string HostIdentity();
// gethostname, for people.
std::string HostName();

}  // namespace memfabric::store
