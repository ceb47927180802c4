#include "transport/cma/cma_transport.h"

#include <map>
#include <mutex>

#include "base/log.h"
#include "transport/cma/cma_link.h"
#include "transport/meeting/packet_socket.h"

namespace memfabric::transport {
namespace {

// The zones of an introduction carry our two files: the table, and our page for that peer.
constexpr std::size_t kTable = Index(Zone::kDevice);
constexpr std::size_t kPage = Index(Zone::kHost);
constexpr ZoneBytes kFileBytes{registered::kTableBytes, registered::kInFlightBytes};

class CmaBackend final : public PeerBackend {
 public:
  explicit CmaBackend(RegisteredTable& table) : table_(table) {}

  bool shares_files() const override { return true; }

  PeerOffer Offer(Rank to) override {
    auto page = PageFor(to);
    PeerOffer offer;
    offer.bytes.allocated_bytes = kFileBytes;
    offer.bytes.files[kTable] = true;
    offer.files[kTable] = table_.file();
    if (page.ok()) {
      offer.bytes.files[kPage] = true;
      offer.files[kPage] = (*page)->file.get();
    } else {  // no fd left; the peer refuses without it
      LOG(kWarn, "engine {} can't be linked: {}", to, page.status().message());
    }
    return offer;
  }

  Result<std::shared_ptr<PeerLink>> MakeLink(
      const PeerContribution& contribution, const std::shared_ptr<MessageSocket>& socket) override {
    if (contribution.bytes.allocated_bytes != kFileBytes)
      return InvalidArgument("tables of another size than ours");
    ASSIGN_OR_RETURN(auto page, PageFor(contribution.rank));
    ASSIGN_OR_RETURN(auto view, RegisteredView::Open(contribution.files[kTable].get(), page));
    ASSIGN_OR_RETURN(auto in_flight, InFlightPage::Open(contribution.files[kPage].get()));
    // the local venue makes no others
    pid_t pid = std::static_pointer_cast<PacketSocket>(socket)->peer_pid();
    auto link =
        std::make_shared<CmaLink>(contribution, pid, std::move(view), std::move(in_flight), table_,
                                  socket, [this, rank = contribution.rank] { pages_.erase(rank); });
    if (!link->attachable().ok() && !std::exchange(warned_, true))
      LOG(kWarn, "memory of processes on this host goes by the network: {}",
          link->attachable().message());
    return std::shared_ptr<PeerLink>(std::move(link));
  }

 private:
  // Of the link to that peer that stands, or comes next.
  Result<std::shared_ptr<InFlightPage>> PageFor(Rank peer) {
    if (auto found = pages_.find(peer); found != pages_.end()) return found->second;
    ASSIGN_OR_RETURN(auto page, InFlightPage::Create());
    pages_[peer] = page;
    return page;
  }

  RegisteredTable& table_;
  // The reactor's thread only. Shared with the link, which may live longer than its connection.
  std::map<Rank, std::shared_ptr<InFlightPage>> pages_;
  bool warned_ = false;
};

}  // namespace

CmaTransport::CmaTransport(Reactor& reactor, std::string host, StrangerLimits strangers)
    : host_(std::move(host)), listeners_(reactor, strangers) {}

Capabilities CmaTransport::capabilities() const {
  return {.zones = false, .registered = true, .same_host = true};
}

Status CmaTransport::CanReach(const MemberAddress& peer) const {
  return PeerPort::CanReach(peer, host_);
}

Result<std::unique_ptr<Port>> CmaTransport::Open(const PortOptions& options) {
  if (options.registered.table == nullptr)
    return InvalidArgument("a cma port needs a table of registrations");
  PortOptions ours = options;
  ours.zones.max_bytes = kFileBytes;
  ours.zones.segments = {};
  return PeerPort::Open(listeners_, ours, std::make_unique<CmaBackend>(*options.registered.table));
}

}  // namespace memfabric::transport
