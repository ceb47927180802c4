// store/client/probe.h: what stands at an address that doesn't answer as a store would. No state;
// any thread.

#pragma once

#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "base/url.h"

namespace memfabric::store {

struct Finding {
  enum class What {
    kUnreachable,  // no connection
    kNoPort,       // no connection, because no local port is free to connect from
    // accepts connections and says nothing, or that it can't now: stopped, overloaded, or no store
    kSilent,
    kRefusing,  // says that it won't have us, and why
    kHttp2,     // may be a store
    kTls,       // may be a store, for those who speak TLS
    kForeign    // says something that no gRPC server says
  };
  What what = What::kUnreachable;
  std::string text;  // for people: "connection refused", "it answers 'HTTP/1.1 400 Bad Request'"
};

// Connects, sends what an HTTP/2 client sends first, and looks at the first bytes that come back.
// Interrupted is the only error.
Result<Finding> Probe(const HostPort& endpoint, Deadline deadline);

}  // namespace memfabric::store
