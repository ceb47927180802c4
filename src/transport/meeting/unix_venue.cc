#include <sys/socket.h>

#include <cerrno>
#include <map>

#include "base/descriptor_limit.h"
#include "base/log.h"
#include "base/retry.h"
#include "transport/meeting/packet_socket.h"
#include "transport/meeting/peer_venue.h"

namespace memfabric::transport {
namespace {

class UnixVenue final : public PeerVenue {
 public:
  UnixVenue(Reactor& reactor, AllowedUsers users, std::string name, UniqueFd listener)
      : reactor_(reactor),
        users_(std::move(users)),
        name_(std::move(name)),
        listener_(std::move(listener)) {}

  Result<std::string> Enter(const meeting::Addressee& member) override {
    // Through the text form, so that the key is exactly what connectors will read.
    std::string text = fmt::format("1 {} {}", name_, RandomHex128());
    ASSIGN_OR_RETURN(meeting::Advert advert, meeting::ParseAdvert(text));
    keys_[member] = advert.key;
    return text;
  }
  void Leave(const meeting::Addressee& member) override { keys_.erase(member); }
  bool HasKey(const meeting::Hello& hello, const MessageSocket&) const override {
    return keys_.at(hello.addressee()) == hello.key;
  }
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
  const std::string name_;  // of the socket
  const UniqueFd listener_;
  std::map<meeting::Addressee, meeting::Key> keys_;
};

}  // namespace

Result<std::unique_ptr<PeerVenue>> OpenUnixVenue(Reactor& reactor) {
  ASSIGN_OR_RETURN(AllowedUsers users, AllowedUsers::FromEnvironment());
  std::string name = "memfabric-port-" + RandomHex128();
  ASSIGN_OR_RETURN(UniqueFd listener, ListenUnix(SOCK_SEQPACKET, name, SOMAXCONN));
  return std::unique_ptr<PeerVenue>(
      std::make_unique<UnixVenue>(reactor, std::move(users), std::move(name), std::move(listener)));
}

}  // namespace memfabric::transport
