#include "transport/tcp/tcp_venue.h"

#include <sys/socket.h>

#include <cerrno>

#include "base/addresses.h"
#include "base/descriptor_limit.h"
#include "base/log.h"
#include "base/retry.h"
#include "transport/tcp/address_trouble.h"

namespace memfabric::transport::tcp {
namespace {

using std::chrono::steady_clock;

// Connections that end free their ports soon, as a rule; that none comes free for so long is an
// error.
constexpr std::chrono::milliseconds kNoPortPatience{3000};
// tries that lie further apart have nothing to do with each other
constexpr std::chrono::milliseconds kNoPortGap{1500};

std::string ZoneOf(const std::string& host) {
  const std::size_t percent = host.find('%');
  return percent == std::string::npos ? "" : host.substr(percent + 1);
}

}  // namespace

Result<std::unique_ptr<TcpVenue>> TcpVenue::Open(Reactor& reactor, const NetworkOptions& network,
                                                 std::shared_ptr<const ServedMemory> memory,
                                                 std::chrono::microseconds spin) {
  Advert advert;
  advert.encrypt = network.encrypt;
  UniqueFd socket;
  auto choice = ChooseAddress(network);
  auto tls = Tls::Create();
  auto listener = !tls.ok()      ? tls.status()
                  : !choice.ok() ? choice.status()
                                 : ListenInRange(choice->address, network.ports);
  if (listener.ok()) {
    RETURN_IF_ERROR(FillRandom(advert.key.data(), advert.key.size()));
    advert.address = std::move(listener->address);
    socket = std::move(listener->socket);
    LOG(kInfo, "the data port listens at {} ({})", advert.address.ToString(), choice->why);
  } else if (IsInUse(listener.status()) || IsNotFound(listener.status()) ||
             IsUnsupported(listener.status())) {
    // Members that are reached by memory need no port.
    LOG(kWarn, "other hosts can't reach this process: it has no data port: {}",
        listener.status().message());
    advert.none = listener.status().message();
  } else {
    return listener.status();
  }
  const std::string zone = listener.ok() ? ZoneOf(advert.address.host) : "";
  // it means nothing to others
  advert.address.host = advert.address.host.substr(0, advert.address.host.find('%'));
  return std::make_unique<TcpVenue>(
      reactor, std::move(memory), tls.ok() ? *std::move(tls) : nullptr, std::move(advert),
      std::move(socket), zone.empty() ? ZoneOf(network.near_host) : zone, spin);
}

Result<PeerVenue::Encounter> TcpVenue::Meet(UniqueFd socket, const Tls::Identity& identity,
                                            bool connector, std::string who) const {
  ASSIGN_OR_RETURN(BounceBuffer taken, memory_->bounce->Take());
  auto bounce = std::make_unique<BounceBuffer>(std::move(taken));
  ASSIGN_OR_RETURN(auto stream,
                   ByteStream::Open(*tls_, std::move(socket), connector, identity, *bounce));
  auto connection = std::make_shared<TcpConnection>(reactor_, memory_, std::move(bounce),
                                                    std::move(stream), who, spin_);
  return Encounter{std::move(connection), std::move(who), Ok()};
}

Result<std::optional<PeerVenue::Encounter>> TcpVenue::Accept() {
  sockaddr_storage peer{};
  UniqueFd socket;
  do {
    socket = UniqueFd(RetryOnSignal([&] {
      socklen_t size = sizeof peer;
      return ::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                       SOCK_CLOEXEC | SOCK_NONBLOCK);
    }));
  } while (!socket && errno == ECONNABORTED);
  if (!socket && errno == EAGAIN) return std::optional<Encounter>();
  if (!socket) return OutOfMemory("{}; {}", ErrnoText(errno), DescriptorLimitText());
  const std::string who = FromSocketAddress(reinterpret_cast<sockaddr*>(&peer)).ToString();
  ASSIGN_OR_RETURN(Encounter encounter,
                   Meet(std::move(socket), {advert_.key, who, advert_.encrypt}, false, who));
  return std::optional<Encounter>(std::move(encounter));
}

Status TcpVenue::CheckAdvert(const MemberAddress& peer) const {
  auto advert = ParseAdvert(peer.advert);
  if (!advert.ok()) return advert.status().WithContext(peer.ToString());
  if (advert->encrypt == advert_.encrypt) return Ok();
  return InvalidArgument(
      "{} has encryption of the data path {}, this process has it {}: all of a pool must agree "
      "(see "
      "MEMFABRIC_DATA_TLS)",
      peer.ToString(), advert->encrypt ? "on" : "off", advert_.encrypt ? "on" : "off");
}

Status TcpVenue::NoPort() {
  const auto now = steady_clock::now();
  if (!no_port_since_.has_value() || now - no_port_last_ > kNoPortGap) no_port_since_ = now;
  no_port_last_ = now;
  if (now - *no_port_since_ < kNoPortPatience) return InUse("{}", NoPortText());
  return IoError("{}", NoPortText());
}

std::string TcpVenue::Trouble(const MemberAddress& peer) const {
  auto advert = ParseAdvert(peer.advert);
  if (!advert.ok()) return "";
  return fmt::format("; it is looked for at {}{}", advert->address.ToString(),
                     AddressTrouble(advert->address));
}

Result<PeerVenue::Encounter> TcpVenue::Connect(const MemberAddress& peer, meeting::Hello hello,
                                               const std::vector<int>&) {
  ASSIGN_OR_RETURN(Advert advert, ParseAdvert(peer.advert));
  if (tls_ == nullptr) return Unsupported("{}", advert_.none);
  // By the interface that leads to the store.
  if (IsLinkLocalHost(advert.address.host) && !zone_.empty()) advert.address.host += '%' + zone_;
  const SocketAddress address = ToSocketAddress(advert.address);
  UniqueFd socket(
      ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket)
    return OutOfMemory("no socket to connect with: {}; {}", ErrnoText(errno),
                       DescriptorLimitText());
  // Interrupted, it goes on by itself, as when it is in progress.
  if (::connect(socket.get(), address.get(), address.size_bytes) != 0 && errno != EINPROGRESS &&
      errno != EINTR) {
    const int error = errno;
    if (LacksPort(error, address)) return NoPort();
    if (error == EAGAIN) return InUse("no connection for now: {}", ErrnoText(error));
    return Disconnected("{} can't be connected to: {}{}", advert.address.ToString(),
                        ErrnoText(error), AddressTrouble(advert.address));
  }
  no_port_since_.reset();
  std::string whose = fmt::format("rank {} epoch {} of {}", peer.rank, peer.epoch, peer.pool);
  ASSIGN_OR_RETURN(Encounter encounter,
                   Meet(std::move(socket), {advert.key, whose, advert.encrypt}, true,
                        fmt::format("pid {} at {}", peer.pid, advert.address.ToString())));
  encounter.socket->Send(meeting::EncodeMessage(hello));
  return encounter;
}

}  // namespace memfabric::transport::tcp
