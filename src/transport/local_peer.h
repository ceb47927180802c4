// transport/local_peer.h: what a transport between processes of one host makes of a peer that its
// port has met. The port (local_port.h) does the meeting, the same for all of them: who connects,
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
#include "transport/local_protocol.h"
#include "transport/transport.h"
#include "transport/venue.h"

namespace memfabric::transport {

// What came with a peer's introduction or growth. The files are those that the contribution names,
// else closed (-1).
struct LocalContribution {
  Rank rank;
  std::uint64_t epoch;
  local::Contribution bytes;
  std::array<UniqueFd, kZones> files;
};

class LocalLink : public Link {
 public:
  // The connection has ended, once; calls in flight and later ones fail with `why`, which is never
  // Ok.
  virtual void MarkDown(const Status& why) = 0;
  // The peer contributes more. An error ends the connection.
  virtual Status Grow(const LocalContribution& contribution) = 0;
  // A DATA message, and the files that came with it. An error ends the connection: the peer broke
  // the protocol.
  virtual Status OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) = 0;
  // The peer's owner has its link too. Once; for the end that connected, right after MakeLink.
  virtual void OnConfirmed() = 0;
};

// What a member shows of itself to one peer. The files are borrowed: they stay open for as long as
// the backend, or until the link to that peer is down.
struct LocalOffer {
  local::Contribution bytes;
  std::array<int, kZones> files{-1, -1};
};
// Whether somebody may truncate its file; only one that our user gave can be so.
bool MayShrink(const Segment& segment);
// The segments as they are, their files when `with_files`.
LocalOffer OfferSegments(const std::array<const Segment*, kZones>& segments, bool with_files);

class LocalBackend {
 public:
  virtual ~LocalBackend() = default;

  // Whether members send the files of their zones.
  virtual bool shares_files() const = 0;
  virtual LocalOffer Offer(Rank to) = 0;
  // The link to a peer whose introduction is checked. REQUIRES: the observer has agreed
  // (OnPeerArriving).
  virtual Result<std::shared_ptr<LocalLink>> MakeLink(
      const LocalContribution& contribution, const std::shared_ptr<MessageSocket>& socket) = 0;
};

}  // namespace memfabric::transport
