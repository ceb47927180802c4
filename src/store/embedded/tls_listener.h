// store/embedded/tls_listener.h: takes connections with TLS for the embedded server: who has shown a certificate that we trust
// is handed on, as a socket with the contents of the connection; nobody else reaches gRPC.
//
// Strangers cost little: a handshake has 5 s, at most 64 are under way, and who is refused is logged, once a second at most.
// Who comes when there are 64 waits in the listener's queue until one is done, or has had a second and is dropped.
//
// Owner: the server. One thread of its own, which also relays; asleep while nothing is said.

#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/status.h"
#include "base/url.h"
#include "store/tls/credentials.h"

namespace memfabric::store {

class TlsListener {
 public:
  // Called on the thread, with a connected socket that doesn't block.
  using Accepted = std::function<void(UniqueFd inside)>;

  // `addresses`: numeric; with port 0 the one address gets a free one, see port(). InUse: a port is taken.
  static Result<std::unique_ptr<TlsListener>> Start(const std::vector<HostPort>& addresses,
                                                    std::shared_ptr<const TlsCredentials> credentials, Accepted accepted);
  virtual ~TlsListener() = default;  // Ends every connection; no call follows.

  virtual std::uint16_t port() const = 0;
};

}  // namespace memfabric::store
