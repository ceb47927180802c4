// transport/mapped/mapped_transport.h: same host, load/store. Peers' segments come as files over a
// local socket and are mapped at their slots in the pool's window; afterwards no message is needed
// to move a byte.
//
// Owned by the runtime. Threads: any. Observers are called on the reactor's thread, one call at a
// time.

#pragma once

#include <string>

#include "transport/meeting/peer_port.h"
#include "transport/reactor.h"
#include "transport/transport.h"

namespace memfabric::transport {

class MappedTransport final : public Transport {
 public:
  // `reactor` outlives it; `host` is this process's host identity.
  MappedTransport(Reactor& reactor, std::string host, StrangerLimits strangers = {});

  std::string_view name() const override { return "mapped"; }
  Capabilities capabilities() const override;
  Status CanReach(const MemberAddress& peer) const override;
  bool IsElsewhere(const MemberAddress&) const override { return false; }
  Result<std::unique_ptr<Port>> Open(const PortOptions& options) override;

 private:
  Reactor& reactor_;
  std::string host_;
  PeerListeners listeners_;
};

}  // namespace memfabric::transport
