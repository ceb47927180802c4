// transport/tcp/tcp_transport.h: reaches the memory of processes on other hosts by TCP. docs/tcp.md
// describes wire, trust and threads.
//
// Threads: any.

#pragma once

#include "transport/meeting/peer_port.h"
#include "transport/reactor.h"
#include "transport/transport.h"

namespace memfabric::transport {

class TcpTransport final : public Transport {
 public:
  // `reactor` outlives it and its ports.
  explicit TcpTransport(Reactor& reactor, StrangerLimits strangers = {})
      : listeners_(reactor, strangers) {}

  std::string_view name() const override { return "tcp"; }
  Capabilities capabilities() const override;
  // Any peer that has such a port, also of this host: who has a better way for those asks for it
  // first.
  Status CanReach(const MemberAddress& peer) const override;
  // Its address is none of this host's.
  bool IsElsewhere(const MemberAddress& peer) const override;
  // REQUIRES: options.zones.window, with the segments mapped at their slots. InvalidArgument names
  // the environment's MEMFABRIC_SPIN_US (microseconds to poll after activity before sleeping; 0 to
  // 1000, 50 when unset) when that is the trouble.
  Result<std::unique_ptr<Port>> Open(const PortOptions& options) override;

 private:
  PeerListeners listeners_;
};

}  // namespace memfabric::transport
