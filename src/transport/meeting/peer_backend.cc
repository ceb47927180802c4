#include "transport/meeting/peer_backend.h"

#include <fcntl.h>

namespace memfabric::transport {

bool MayShrink(const Segment& segment) {
  int seals = ::fcntl(segment.fd(), F_GET_SEALS);
  return seals < 0 || (seals & F_SEAL_SHRINK) == 0;
}

PeerOffer OfferSegments(const std::array<const Segment*, kZones>& segments, bool with_files) {
  PeerOffer offer;
  for (std::size_t zone = 0; zone < kZones; ++zone) {
    const Segment* segment = segments[zone];
    if (segment == nullptr) continue;
    offer.bytes.allocated_bytes[zone] = segment->allocated_bytes();
    if (!with_files || offer.bytes.allocated_bytes[zone] == 0) continue;
    offer.files[zone] = segment->fd();
    offer.bytes.files[zone] = true;
    offer.bytes.user_files[zone] = MayShrink(*segment);
  }
  return offer;
}

}  // namespace memfabric::transport
