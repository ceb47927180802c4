// store/client/tunnel.h: a TLS connection to one endpoint, as a socket with its contents that gRPC
// is given.
//
// Owner: a StoreConnection. Threads: one of its own, which dials, shakes hands and relays;
// functions from any.

#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/url.h"
#include "store/tls/credentials.h"

namespace memfabric::store {

class TlsRelay;

class Tunnel {
 public:
  // Begins at once; `connect_timeout` bounds the way to the end of the handshake.
  Tunnel(std::shared_ptr<const TlsCredentials> credentials, const HostPort& endpoint,
         std::chrono::milliseconds connect_timeout);
  ~Tunnel();
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  // gRPC's end, once. What is sent before the handshake is done waits in it.
  int TakePlainEnd() { return plain_.Release(); }

  // Why there is no connection (yet, or any more). InvalidArgument: one end refuses the other, and
  // would again; Ok: there is one, or it was ended without a reason.
  Status failure() const;

 private:
  void Run(std::chrono::milliseconds connect_timeout, UniqueFd inner);
  Status Serve(TlsRelay& relay, Deadline connected_by);
  void Note(Status failure);

  const std::shared_ptr<const TlsCredentials> credentials_;
  const HostPort endpoint_;
  UniqueFd plain_;
  UniqueFd wake_;
  std::atomic<bool> stopping_{false};
  mutable Mutex mutex_;
  Status failure_ GUARDED_BY(mutex_);
  Thread thread_;  // last: it uses what is above
};

}  // namespace memfabric::store
