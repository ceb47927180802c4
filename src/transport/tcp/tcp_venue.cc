#include "transport/tcp/tcp_venue.h"

#include <sys/socket.h>

#include <algorithm>
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

std::string WithoutZone(const std::string& host) { return host.substr(0, host.find('%')); }

}  // namespace

Result<PeerListeners::Choice> TcpVenue::Choose(Reactor& reactor, const NetworkOptions& network,
                                               std::chrono::microseconds spin,
                                               const std::vector<PeerVenue*>& open) {
  Advert advert;
  advert.encrypt = network.encrypt;
  UniqueFd socket;
  auto choice = ChooseAddress(network);
  std::string zone = choice.ok() ? ZoneOf(choice->address.host) : "";
  if (zone.empty()) zone = ZoneOf(network.near_host);
  // it means nothing to others
  const std::string host = !choice.ok() ? "" : WithoutZone(choice->address.host);
  std::vector<TcpVenue*> suit;
  std::vector<std::uint16_t> ports;
  for (PeerVenue* each : open) {
    auto* venue = static_cast<TcpVenue*>(each);
    if (venue->listener() < 0 || venue->advert_.address.host != host ||
        venue->advert_.encrypt != network.encrypt || venue->zone_ != zone)
      continue;
    suit.push_back(venue);
    ports.push_back(venue->advert_.address.port);
  }
  auto tls = Tls::Create();
  auto listener = !tls.ok()      ? tls.status()
                  : !choice.ok() ? choice.status()
                                 : ListenInRange(choice->address, network.ports, ports);
  if (listener.ok() && !listener->socket) {
    auto same = [&](TcpVenue* each) {
      return each->advert_.address.port == listener->address.port;
    };
    return PeerListeners::Choice{*std::ranges::find_if(suit, same), nullptr};
  }
  if (listener.ok()) {
    advert.address = {host, listener->address.port};
    socket = std::move(listener->socket);
    LOG(kInfo, "the data port listens at {} ({})", listener->address.ToString(), choice->why);
  } else if (IsInUse(listener.status()) || IsNotFound(listener.status()) ||
             IsUnsupported(listener.status())) {
    // Members that are reached by memory need no port.
    LOG(kWarn, "other hosts can't reach this process: it has no data port: {}",
        listener.status().message());
    advert.none = listener.status().message();
  } else {
    return listener.status();
  }
  ASSIGN_OR_RETURN(auto bounce, BounceArena::Create());
  return PeerListeners::Choice{
      nullptr,
      std::make_unique<TcpVenue>(reactor, tls.ok() ? *std::move(tls) : nullptr, std::move(bounce),
                                 std::move(advert), std::move(socket), std::move(zone), spin)};
}

Result<std::string> TcpVenue::Enter(const meeting::Addressee& member) {
  Advert own = advert_;
  RETURN_IF_ERROR(FillRandom(own.key.data(), own.key.size()));
  keys_[member.ToString()] = own.key;
  return EncodeAdvert(own);
}

bool TcpVenue::HasKey(const meeting::Hello& hello, const MessageSocket& socket) const {
  // Accept makes no others.
  return static_cast<const TcpConnection&>(socket).whose() == hello.addressee().ToString();
}

Result<PeerVenue::Encounter> TcpVenue::Meet(UniqueFd socket, const Tls::Identity& identity,
                                            bool connector, std::string who) const {
  ASSIGN_OR_RETURN(BounceBuffer taken, bounce_->Take());
  auto bounce = std::make_unique<BounceBuffer>(std::move(taken));
  ASSIGN_OR_RETURN(auto stream,
                   ByteStream::Open(*tls_, std::move(socket), connector, identity, *bounce));
  Tokens tokens;
  RETURN_IF_ERROR(FillRandom(tokens.data(), sizeof tokens));
  auto connection = std::make_shared<TcpConnection>(reactor_, tokens, std::move(bounce),
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
  auto find_key = [this](std::string_view whose) {
    auto found = keys_.find(whose);
    return found == keys_.end() ? nullptr : &found->second;
  };
  const std::string who = FromSocketAddress(reinterpret_cast<sockaddr*>(&peer)).ToString();
  ASSIGN_OR_RETURN(Encounter encounter,
                   Meet(std::move(socket), {find_key, advert_.encrypt}, false, who));
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
  const std::string whose = hello.addressee().ToString();
  ASSIGN_OR_RETURN(Encounter encounter,
                   Meet(std::move(socket), {advert.key, whose, advert.encrypt}, true,
                        fmt::format("pid {} at {}", peer.pid, advert.address.ToString())));
  encounter.socket->Send(meeting::EncodeMessage(hello));
  return encounter;
}

}  // namespace memfabric::transport::tcp
