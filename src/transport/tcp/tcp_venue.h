// transport/tcp/tcp_venue.h: members meet at a TCP port, whose address stands in the directory with
// a key for each member.
//
// Owned by a listener. Threads: as PeerVenue.

#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "memory/bounce.h"
#include "transport/meeting/peer_listener.h"
#include "transport/meeting/peer_venue.h"
#include "transport/tcp/advert.h"
#include "transport/tcp/connection.h"
#include "transport/tcp/listen.h"

namespace memfabric::transport::tcp {

class TcpVenue final : public PeerVenue {
 public:
  // For a member with these options: one of `open`, which are TcpVenues, or a new one. Without a
  // port to be had that has no listener: members that connect to it are told why they can't, it may
  // connect to others.
  static Result<PeerListeners::Choice> Choose(Reactor& reactor, const NetworkOptions& network,
                                              std::chrono::microseconds spin,
                                              const std::vector<PeerVenue*>& open);

  Result<std::string> Enter(const meeting::Addressee& member) override;
  void Leave(const meeting::Addressee& member) override { keys_.erase(member.ToString()); }
  bool HasKey(const meeting::Hello& hello, const MessageSocket& socket) const override;
  int listener() const override { return listener_.get(); }
  Result<std::optional<Encounter>> Accept() override;
  Status CheckAdvert(const MemberAddress& peer) const override;
  std::string Trouble(const MemberAddress& peer) const override;
  Result<Encounter> Connect(const MemberAddress& peer, meeting::Hello hello,
                            const std::vector<int>& files) override;

  TcpVenue(Reactor& reactor, std::unique_ptr<Tls> tls, std::shared_ptr<BounceArena> bounce,
           Advert advert, UniqueFd listener, std::string zone, std::chrono::microseconds spin)
      : reactor_(reactor),
        tls_(std::move(tls)),
        bounce_(std::move(bounce)),
        advert_(std::move(advert)),
        listener_(std::move(listener)),
        zone_(std::move(zone)),
        spin_(spin) {}

 private:
  Result<Encounter> Meet(UniqueFd socket, const Tls::Identity& identity, bool connector,
                         std::string who) const;

  // No local port is free to connect from: InUse, and when that has lasted, IoError.
  Status NoPort();

  Reactor& reactor_;
  // null: there is none here (advert_.none), so nobody can be connected to
  const std::unique_ptr<Tls> tls_;
  const std::shared_ptr<BounceArena> bounce_;  // shared with the connections' buffers
  const Advert advert_;                        // of every member, but for the key
  const UniqueFd listener_;
  // of link-local addresses: the interface that leads to the others; "": not known
  const std::string zone_;
  const std::chrono::microseconds spin_;
  std::map<std::string, PresharedKey, std::less<>> keys_;  // by the member's text
  std::optional<TimePoint> no_port_since_;
  TimePoint no_port_last_{};
};

}  // namespace memfabric::transport::tcp
