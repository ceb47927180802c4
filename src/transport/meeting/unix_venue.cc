#include <sys/socket.h>

#include <cerrno>

#include "base/descriptor_limit.h"
#include "base/log.h"
#include "base/retry.h"
#include "transport/meeting/packet_socket.h"
#include "transport/meeting/peer_venue.h"

namespace memfabric::transport {
namespace {

class UnixVenue final : public PeerVenue {
 public:
  UnixVenue(Reactor& reactor, AllowedUsers users, meeting::Advert advert, UniqueFd listener)
      : reactor_(reactor),
        users_(std::move(users)),
        advert_(std::move(advert)),
        listener_(std::move(listener)) {}

  std::string advert() const override { return meeting::EncodeAdvert(advert_); }
  meeting::Key key() const override { return advert_.key; }
  int listener() const override { return listener_.get(); }

  Result<std::optional<Encounter>> Accept() override {
    UniqueFd socket;
    do {
      socket = UniqueFd(RetryOnSignal([&] {
        return ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      }));
    } while (!socket && errno == ECONNABORTED);
    if (!socket && errno == EAGAIN) return std::optional<Encounter>();
    if (!socket) return OutOfMemory("{}; {}", ErrnoText(errno), DescriptorLimitText());
    return std::optional<Encounter>(Meet(std::move(socket)));
  }

  Status CheckAdvert(const MemberAddress& peer) const override {
    return meeting::ParseAdvert(peer.advert).status();
  }
  std::string Trouble(const MemberAddress&) const override { return ""; }

  Result<Encounter> Connect(const MemberAddress& peer, meeting::Hello hello,
                            const std::vector<int>& files) override {
    ASSIGN_OR_RETURN(meeting::Advert advert, meeting::ParseAdvert(peer.advert));
    auto socket = ConnectUnix(SOCK_SEQPACKET, advert.socket);
    if (IsDisconnected(socket.status()))
      return Disconnected("it is gone: {}", socket.status().message());
    RETURN_IF_ERROR(socket.status());
    RETURN_IF_ERROR(TrustedPeer(socket->get(), users_).status());
    hello.key = advert.key;
    // Before anything else knows the socket: when there is no room, the next try begins from the
    // beginning.
    Status sent = SendPacket(socket->get(), meeting::EncodeMessage(hello), files);
    if (IsDisconnected(sent)) return InUse("{}", sent.message());  // the next try tells why
    RETURN_IF_ERROR(sent);
    return Meet(*std::move(socket));
  }

 private:
  Encounter Meet(UniqueFd socket) const {
    auto peer = TrustedPeer(socket.get(), users_);
    return {std::make_shared<PacketSocket>(reactor_, std::move(socket)),
            fmt::format("pid {}", peer.ok() ? peer->pid : 0), peer.status()};
  }

  Reactor& reactor_;
  const AllowedUsers users_;
  const meeting::Advert advert_;
  const UniqueFd listener_;
};

}  // namespace

Result<std::unique_ptr<PeerVenue>> OpenUnixVenue(Reactor& reactor) {
  ASSIGN_OR_RETURN(AllowedUsers users, AllowedUsers::FromEnvironment());
  // Through the text form, so that the key is exactly what connectors will read.
  auto advert =
      meeting::ParseAdvert(fmt::format("1 memfabric-port-{} {}", RandomHex128(), RandomHex128()));
  CHECK(advert.ok());
  ASSIGN_OR_RETURN(UniqueFd listener, ListenUnix(SOCK_SEQPACKET, advert->socket, SOMAXCONN));
  return std::unique_ptr<PeerVenue>(std::make_unique<UnixVenue>(
      reactor, std::move(users), *std::move(advert), std::move(listener)));
}

}  // namespace memfabric::transport
