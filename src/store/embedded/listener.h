// store/embedded/listener.h: takes connections for the embedded server. gRPC's own listener closes
// for good when it once finds no descriptor; this one accepts always, and hands on only who has
// introduced itself.
//
// Without TLS who sends HTTP/2's preface is handed to gRPC, the very socket; a process of this host
// must belong to one of the allowed users. With TLS who shows a certificate that we trust is handed
// on, as a socket with the contents of the connection.
//
// Strangers cost little. Who says nothing has 5 s, then there are 5 s for the handshake or for the
// first request. There is room for a number of each, which the limit of descriptors decides; when
// it is taken, newcomers wait in the kernel's queue until one is done, or has had a moment (200 ms
// to say something, 500 ms to ask for something, 1 s to shake hands): then the address with the
// most of them loses its oldest. So a crowd of ranks that start together is let in, and a crowd of
// strangers keeps nobody out. Before the last descriptors are gone, strangers and newcomers are
// dropped rather than what stands.
//
// Owner: the server. One thread of its own, which also relays, and opens a listening socket again
// that has broken.

#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/allowed_users.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/status.h"
#include "base/url.h"
#include "store/embedded/first_requests.h"
#include "store/tls/credentials.h"

namespace memfabric::store {

class StoreListener {
 public:
  struct Options {
    // numeric; with port 0 the one address gets a free one, see port()
    std::vector<HostPort> addresses;
    std::shared_ptr<const TlsCredentials> tls;  // null for none. Shared with clients of ours
    AllowedUsers users;                         // without TLS: who may connect from this host
    // without TLS: tells who has asked for something; outlives the listener
    FirstRequests* first_requests;
    // Called on the thread, with a connected socket that doesn't block.
    std::function<void(UniqueFd connection)> accepted;
  };

  // InUse: a port is taken.
  static Result<std::unique_ptr<StoreListener>> Start(Options options);
  virtual ~StoreListener() = default;  // Ends every connection that it relays; no call follows.

  virtual std::uint16_t port() const = 0;
};

}  // namespace memfabric::store
