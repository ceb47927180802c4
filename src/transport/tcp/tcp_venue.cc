#include "transport/tcp/tcp_venue.h"

#include <sys/socket.h>

#include <cerrno>

#include "base/descriptor_limit.h"
#include "base/retry.h"

namespace memfabric::transport::tcp {

Result<std::unique_ptr<TcpVenue>> TcpVenue::Open(Reactor& reactor, const NetworkOptions& network,
                                                 std::shared_ptr<const ServedMemory> memory, std::chrono::microseconds spin) {
  ASSIGN_OR_RETURN(std::unique_ptr<Tls> tls, Tls::Create());
  ASSIGN_OR_RETURN(HostPort address, ChooseAddress(network));
  ASSIGN_OR_RETURN(Listener listener, Listen(address));
  Advert advert;
  advert.address = std::move(listener.address);
  advert.encrypt = network.encrypt;
  RETURN_IF_ERROR(FillRandom(advert.key.data(), advert.key.size()));
  return std::make_unique<TcpVenue>(reactor, std::move(memory), std::move(tls), std::move(advert), std::move(listener.socket),
                                    spin);
}

Result<Venue::Encounter> TcpVenue::Meet(UniqueFd socket, const Tls::Identity& identity, bool connector, std::string who) const {
  ASSIGN_OR_RETURN(BounceBuffer taken, memory_->bounce->Take());
  auto bounce = std::make_unique<BounceBuffer>(std::move(taken));
  ASSIGN_OR_RETURN(auto stream, Stream::Open(*tls_, std::move(socket), connector, identity, *bounce));
  auto connection = std::make_shared<Connection>(reactor_, memory_, std::move(bounce), std::move(stream), who, spin_);
  return Encounter{std::move(connection), std::move(who), Ok()};
}

Result<std::optional<Venue::Encounter>> TcpVenue::Accept() {
  sockaddr_storage peer{};
  UniqueFd socket;
  do {
    socket = UniqueFd(RetryOnSignal([&] {
      socklen_t size = sizeof peer;
      return ::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }));
  } while (!socket && errno == ECONNABORTED);
  if (!socket && errno == EAGAIN) return std::optional<Encounter>();
  if (!socket) return OutOfMemory("{}; {}", ErrnoText(errno), DescriptorLimitText());
  const std::string who = FromSocketAddress(reinterpret_cast<sockaddr*>(&peer)).ToString();
  ASSIGN_OR_RETURN(Encounter encounter, Meet(std::move(socket), {advert_.key, who, advert_.encrypt}, false, who));
  return std::optional<Encounter>(std::move(encounter));
}

Status TcpVenue::CheckAdvert(const MemberAddress& peer) const {
  auto advert = ParseAdvert(peer.advert);
  if (!advert.ok()) return advert.status().WithContext(peer.ToString());
  if (advert->encrypt == advert_.encrypt) return Ok();
  return InvalidArgument(
      "{} has encryption of the data path {}, this process has it {}: all of a pool must agree (see "
      "MEMFABRIC_DATA_TLS)",
      peer.ToString(), advert->encrypt ? "on" : "off", advert_.encrypt ? "on" : "off");
}

Result<Venue::Encounter> TcpVenue::Connect(const MemberAddress& peer, local::Hello hello, const std::vector<int>&) {
  ASSIGN_OR_RETURN(Advert advert, ParseAdvert(peer.advert));
  const SocketAddress address = ToSocketAddress(advert.address);
  UniqueFd socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return OutOfMemory("no socket to connect with: {}; {}", ErrnoText(errno), DescriptorLimitText());
  // Interrupted, it goes on by itself, as when it is in progress.
  if (::connect(socket.get(), address.get(), address.size_bytes) != 0 && errno != EINPROGRESS && errno != EINTR) {
    if (errno == EAGAIN || errno == EADDRNOTAVAIL) return InUse("no port of this host is free: {}", ErrnoText(errno));
    return Disconnected("it is gone: {} can't be connected to: {}", advert.address.ToString(), ErrnoText(errno));
  }
  std::string whose = fmt::format("rank {} epoch {} of {}", peer.rank, peer.epoch, peer.pool);
  ASSIGN_OR_RETURN(Encounter encounter, Meet(std::move(socket), {advert.key, whose, advert.encrypt}, true,
                                             fmt::format("pid {} at {}", peer.pid, advert.address.ToString())));
  encounter.socket->Send(local::EncodeMessage(hello));
  return encounter;
}

}  // namespace memfabric::transport::tcp
