// transport/tcp/tcp_venue.h: the members of a pool meet at TCP ports whose addresses and keys stand
// in the directory.
//
// Owned by a port. Threads: as PeerVenue.

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "transport/meeting/peer_venue.h"
#include "transport/tcp/advert.h"
#include "transport/tcp/connection.h"
#include "transport/tcp/listen.h"

namespace memfabric::transport::tcp {

class TcpVenue final : public PeerVenue {
 public:
  // Without a port to be had it has no listener: members that connect to it are told why they
  // can't, it may connect to others.
  static Result<std::unique_ptr<TcpVenue>> Open(Reactor& reactor, const NetworkOptions& network,
                                                std::shared_ptr<const ServedMemory> memory,
                                                std::chrono::microseconds spin);

  std::string advert() const override { return EncodeAdvert(advert_); }
  meeting::Key key() const override { return {}; }  // the handshake has proven it
  int listener() const override { return listener_.get(); }
  Result<std::optional<Encounter>> Accept() override;
  Status CheckAdvert(const MemberAddress& peer) const override;
  std::string Trouble(const MemberAddress& peer) const override;
  Result<Encounter> Connect(const MemberAddress& peer, meeting::Hello hello,
                            const std::vector<int>& files) override;

  TcpVenue(Reactor& reactor, std::shared_ptr<const ServedMemory> memory, std::unique_ptr<Tls> tls,
           Advert advert, UniqueFd listener, std::string zone, std::chrono::microseconds spin)
      : reactor_(reactor),
        memory_(std::move(memory)),
        tls_(std::move(tls)),
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
  const std::shared_ptr<const ServedMemory> memory_;  // shared with the connections
  // null: there is none here (advert_.none), so nobody can be connected to
  const std::unique_ptr<Tls> tls_;
  const Advert advert_;
  const UniqueFd listener_;
  // of link-local addresses: the interface that leads to the others; "": not known
  const std::string zone_;
  const std::chrono::microseconds spin_;
  std::optional<TimePoint> no_port_since_;  // the reactor's thread only, as the next
  TimePoint no_port_last_{};
};

}  // namespace memfabric::transport::tcp
