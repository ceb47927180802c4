// store/client/dial.h: a TCP connection to one of a store's addresses. No state; any thread.

#pragma once

#include "base/clock.h"
#include "base/fd.h"
#include "base/status.h"
#include "base/url.h"

namespace memfabric::store {

// A connected socket that doesn't block; every address of the name is tried. Disconnected says why
// there is none, InUse that no local port is free to connect from; Interrupted comes soon after a
// signal or the end of a CancelScope, also while the name is looked up.
Result<UniqueFd> Dial(const HostPort& endpoint, Deadline deadline);

// Whether `fd` became ready for `events` before the deadline; or Interrupted.
Result<bool> AwaitEvents(int fd, short events, Deadline deadline);

}  // namespace memfabric::store
