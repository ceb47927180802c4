// transport/meeting/peer_backend.h: what a transport between processes of one host makes of a peer
// that its port has met. The port (peer_port.h) does the meeting, the same for all of them: who
// connects,
// which life, what is refused, death and goodbye.
//
// A backend is owned by its transport's port. Threads: the reactor's, but for what Link itself
// promises.

#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "base/fd.h"
#include "transport/meeting/peer_protocol.h"
#include "transport/meeting/peer_venue.h"
#include "transport/transport.h"

namespace memfabric::transport {

// What came with a peer's introduction or growth. The files are those that the contribution names,
// else closed (-1).
struct PeerContribution {
  Rank rank;
  std::uint64_t epoch;
  meeting::Contribution bytes;
  std::array<UniqueFd, kZones> files;
};

class PeerLink : public Link {
 public:
  // The connection has ended, once; calls in flight and later ones fail with `why`, which is never
  // Ok.
  virtual void MarkDown(const Status& why) = 0;
  // The peer contributes more. An error ends the connection.
  virtual Status Grow(const PeerContribution& contribution) = 0;
  // A DATA message, and the files that came with it. An error ends the connection: the peer broke
  // the protocol.
  virtual Status OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) = 0;
  // The peer's owner has its link too. Once; for the end that connected, right after MakeLink.
  virtual void OnConfirmed() = 0;
};

// What a member shows of itself to one peer. The files are borrowed: they stay open for as long as
// the backend, or until the link to that peer is down.
struct PeerOffer {
  meeting::Contribution bytes;
  std::array<int, kZones> files{-1, -1};
};
// Whether somebody may truncate its file; only one that our user gave can be so.
bool MayShrink(const Segment& segment);
// The segments as they are, their files when `with_files`.
PeerOffer OfferSegments(const std::array<const Segment*, kZones>& segments, bool with_files);

class PeerBackend {
 public:
  virtual ~PeerBackend() = default;

  // Whether members send the files of their zones.
  virtual bool shares_files() const = 0;
  virtual PeerOffer Offer(Rank to) = 0;
  // The link to a peer whose introduction is checked. REQUIRES: the observer has agreed
  // (OnPeerArriving).
  virtual Result<std::shared_ptr<PeerLink>> MakeLink(
      const PeerContribution& contribution, const std::shared_ptr<MessageSocket>& socket) = 0;
};

}  // namespace memfabric::transport
