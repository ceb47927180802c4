#include "transport/tcp/tcp_transport.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "base/addresses.h"
#include "transport/tcp/tcp_link.h"
#include "transport/tcp/tcp_venue.h"

namespace memfabric::transport {
namespace {

constexpr std::chrono::microseconds kSpin{50};
constexpr int kMaxSpinUs = 1000;

class TcpBackend final : public PeerBackend {
 public:
  TcpBackend(const PortOptions& options, std::shared_ptr<const tcp::ServedMemory> memory)
      : segments_(options.zones.segments), memory_(std::move(memory)) {}

  bool shares_files() const override { return false; }
  PeerOffer Offer(Rank) override { return OfferSegments(segments_, false); }

  Result<std::shared_ptr<PeerLink>> MakeLink(
      const PeerContribution& contribution, const std::shared_ptr<MessageSocket>& socket) override {
    // TcpVenue makes no others
    auto connection = std::static_pointer_cast<tcp::TcpConnection>(socket);
    connection->Attach(contribution.rank, memory_);
    const MemberLife peer{contribution.rank, contribution.epoch};
    auto link = std::make_shared<TcpLink>(peer, std::move(connection));
    RETURN_IF_ERROR(link->Grow(contribution));
    return std::shared_ptr<PeerLink>(std::move(link));
  }

 private:
  const std::array<const Segment*, kZones> segments_;
  const std::shared_ptr<const tcp::ServedMemory> memory_;  // shared with the connections
};

Result<std::chrono::microseconds> SpinTime() {
  const char* text = std::getenv("MEMFABRIC_SPIN_US");
  if (text == nullptr || *text == '\0') return kSpin;
  int value = -1;
  const char* end = text + std::strlen(text);
  auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end || value < 0 || value > kMaxSpinUs) {
    return InvalidArgument("MEMFABRIC_SPIN_US=\"{}\" is no number of microseconds from 0 to {}",
                           text, kMaxSpinUs);
  }
  return std::chrono::microseconds(value);
}

}  // namespace

Capabilities TcpTransport::capabilities() const { return {.registered = true}; }

Status TcpTransport::CanReach(const MemberAddress& peer) const {
  auto advert = tcp::ParseAdvert(peer.advert);
  return advert.ok() ? Ok() : Unsupported("{}", advert.status().message());
}

bool TcpTransport::IsElsewhere(const MemberAddress& peer) const {
  auto advert = tcp::ParseAdvert(peer.advert);
  auto own = InterfaceAddresses();
  if (!advert.ok() || !own.ok() || IsLoopbackHost(advert->address.host)) return false;
  const auto theirs = AddressBytes(advert->address.host);
  return std::ranges::none_of(
      *own, [&](const InterfaceAddress& each) { return AddressBytes(each.host) == theirs; });
}

Result<std::unique_ptr<Port>> TcpTransport::Open(const PortOptions& options) {
  RETURN_IF_ERROR(PeerPort::Check(options));
  ASSIGN_OR_RETURN(auto spin, SpinTime());
  auto memory = std::make_shared<tcp::ServedMemory>();
  memory->window = options.zones.window;
  memory->segments = options.zones.segments;
  memory->registered = options.registered.memory;
  memory->on_served = options.zones.on_served;
  for (Zone zone : kAllZones) {
    if (options.zones.segments[Index(zone)] == nullptr) continue;
    memory->lent[Index(zone)] = MayShrink(*options.zones.segments[Index(zone)]);
    memory->slots[Index(zone)] =
        options.zones.window->data() + options.zones.slot_begin(zone, options.rank);
  }
  auto choose = [&](const auto& open) {
    return tcp::TcpVenue::Choose(listeners_.reactor(), options.network, spin, open);
  };
  return PeerPort::Open(listeners_, choose, options,
                        std::make_unique<TcpBackend>(options, std::move(memory)));
}

}  // namespace memfabric::transport
