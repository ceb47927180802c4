#include "transport/mapped/mapped_transport.h"

#include "base/log.h"
#include "transport/mapped/mapped_link.h"

namespace memfabric::transport {
namespace {

class MappingBackend final : public PeerBackend {
 public:
  MappingBackend(Reactor& reactor, const PortOptions& options)
      : reactor_(reactor),
        window_(options.zones.window),
        slot_begin_(options.zones.slot_begin),
        max_bytes_(options.zones.max_bytes),
        segments_(options.zones.segments) {}

  bool shares_files() const override { return true; }
  PeerOffer Offer(Rank) override { return OfferSegments(segments_, true); }

  Result<std::shared_ptr<PeerLink>> MakeLink(
      const PeerContribution& contribution, const std::shared_ptr<MessageSocket>& socket) override {
    std::array<std::uint64_t, kZones> slots;
    for (Zone zone : kAllZones) slots[Index(zone)] = slot_begin_(zone, contribution.rank);
    auto link = std::make_shared<MappedLink>(
        MappedLink::Options{.peer = {contribution.rank, contribution.epoch},
                            .window = window_,
                            .slots = slots,
                            .max_bytes = max_bytes_,
                            .own_segments = segments_,
                            .socket = socket,
                            .reactor = &reactor_});
    RETURN_IF_ERROR(link->Grow(contribution));
    for (bool user_file : contribution.bytes.user_files) {
      if (!user_file || std::exchange(warned_, true)) continue;
      LOG(kWarn,
          "rank {} contributes a file of its user's that isn't sealed: should that shrink, access "
          "beyond its end is fatal",
          contribution.rank);
    }
    return std::shared_ptr<PeerLink>(std::move(link));
  }

 private:
  Reactor& reactor_;
  const std::shared_ptr<Window> window_;  // shared with the pool
  const std::function<std::uint64_t(Zone, Rank)> slot_begin_;
  const ZoneBytes max_bytes_;
  const std::array<const Segment*, kZones> segments_;
  bool warned_ = false;
};

}  // namespace

MappedTransport::MappedTransport(Reactor& reactor, std::string host, StrangerLimits strangers)
    : reactor_(reactor), host_(std::move(host)), listeners_(reactor, strangers) {}

Capabilities MappedTransport::capabilities() const {
  return {.load_store = true, .same_host = true};
}

Status MappedTransport::CanReach(const MemberAddress& peer) const {
  return PeerPort::CanReach(peer, host_);
}

Result<std::unique_ptr<Port>> MappedTransport::Open(const PortOptions& options) {
  if (options.zones.window == nullptr || !options.zones.slot_begin)
    return InvalidArgument("a mapped port needs a window and slots in it");
  return PeerPort::Open(listeners_, options, std::make_unique<MappingBackend>(reactor_, options));
}

}  // namespace memfabric::transport
