// transport/cma/cma_transport.h: same host, memory that users own: process_vm_readv/writev, as far
// as the kernel allows it. Members show each other their tables of registrations
// (memory/registered_layout.h) when they meet; afterwards no message is needed to move a byte.
//
// Owned by the runtime. Threads: any. Observers are called on the reactor's thread, one call at a
// time.

#pragma once

#include <string>

#include "transport/meeting/peer_port.h"
#include "transport/reactor.h"
#include "transport/transport.h"

namespace memfabric::transport {

class CmaTransport final : public Transport {
 public:
  // `reactor` outlives it; `host` is this process's host identity.
  CmaTransport(Reactor& reactor, std::string host, StrangerLimits strangers = {});

  std::string_view name() const override { return "cma"; }
  Capabilities capabilities() const override;
  Status CanReach(const MemberAddress& peer) const override;
  bool IsElsewhere(const MemberAddress&) const override { return false; }
  // REQUIRES: options.registered.table.
  Result<std::unique_ptr<Port>> Open(const PortOptions& options) override;

 private:
  std::string host_;
  PeerListeners listeners_;
};

}  // namespace memfabric::transport
