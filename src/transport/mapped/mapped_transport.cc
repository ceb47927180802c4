#include "transport/mapped/mapped_transport.h"

#include <limits>

#include "transport/mapped/mapped_port.h"
#include "transport/mapped/protocol.h"

namespace memfabric::transport {

MappedTransport::MappedTransport(Reactor& reactor, std::string host, StrangerLimits strangers)
    : reactor_(reactor), host_(std::move(host)), strangers_(strangers) {}

Capabilities MappedTransport::capabilities() const {
  return {.load_store = true, .max_pieces = std::numeric_limits<std::size_t>::max()};
}

Status MappedTransport::CanReach(const MemberAddress& peer) const {
  if (peer.host != host_) return Unsupported("{} is on another host than this process ({})", peer.ToString(), host_);
  if (auto advert = mapped::ParseAdvert(peer.advert); !advert.ok()) {
    return Unsupported("{} offers no mapping: {}", peer.ToString(), advert.status().message());
  }
  return Ok();
}

Result<std::unique_ptr<Port>> MappedTransport::Open(const PortOptions& options) {
  ASSIGN_OR_RETURN(auto port, MappedPort::Open(reactor_, options, strangers_));
  return std::unique_ptr<Port>(std::move(port));
}

}  // namespace memfabric::transport
