// transport/tcp/tcp_venue.h: the members of a pool meet at TCP ports whose addresses and keys stand in the directory.
//
// Owned by a port. Threads: as Venue.

#pragma once

#include <memory>

#include "transport/tcp/advert.h"
#include "transport/tcp/connection.h"
#include "transport/tcp/listen.h"
#include "transport/venue.h"

namespace memfabric::transport::tcp {

class TcpVenue final : public Venue {
 public:
  static Result<std::unique_ptr<TcpVenue>> Open(Reactor& reactor, const NetworkOptions& network,
                                                std::shared_ptr<const ServedMemory> memory, std::chrono::microseconds spin);

  std::string advert() const override { return EncodeAdvert(advert_); }
  local::Key key() const override { return {}; }  // the handshake has proven it
  int listener() const override { return listener_.get(); }
  Result<std::optional<Encounter>> Accept() override;
  Status CheckAdvert(const MemberAddress& peer) const override;
  Result<Encounter> Connect(const MemberAddress& peer, local::Hello hello, const std::vector<int>& files) override;

  TcpVenue(Reactor& reactor, std::shared_ptr<const ServedMemory> memory, std::unique_ptr<Tls> tls, Advert advert,
           UniqueFd listener, std::chrono::microseconds spin)
      : reactor_(reactor),
        memory_(std::move(memory)),
        tls_(std::move(tls)),
        advert_(std::move(advert)),
        listener_(std::move(listener)),
        spin_(spin) {}

 private:
  Result<Encounter> Meet(UniqueFd socket, const Tls::Identity& identity, bool connector, std::string who) const;

  Reactor& reactor_;
  const std::shared_ptr<const ServedMemory> memory_;  // shared with the connections
  const std::unique_ptr<Tls> tls_;
  const Advert advert_;
  const UniqueFd listener_;
  const std::chrono::microseconds spin_;
};

}  // namespace memfabric::transport::tcp
