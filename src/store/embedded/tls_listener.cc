#include "store/embedded/tls_listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/retry.h"
#include "store/embedded/listen_address.h"
#include "store/tls/relay.h"

namespace memfabric::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kHandshakeTimeout{5};
constexpr std::size_t kMostHandshakes = 64;
// When so many are under way, newcomers wait in the listener's queue until one is done, or has had this long: so a crowd of
// ranks that start together is let in one after the other, and silent strangers still make room.
constexpr milliseconds kUndisturbed{1000};
constexpr milliseconds kPause{50};  // when the machine refuses another connection for its own reasons
constexpr std::chrono::seconds kLogPeriod{1};
constexpr milliseconds kLongestWait = std::chrono::hours(24);

static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT);

// A socket of a connection, as epoll knows it.
struct Watched {
  int fd = -1;
  short events = 0;
};

struct Connection {
  Connection(std::shared_ptr<const TlsCredentials> credentials, UniqueFd network, UniqueFd plain, UniqueFd inside,
             std::string peer)
      : relay(std::move(credentials), TlsRelay::Role::kServer, std::move(network), std::move(plain), ""),
        inside(std::move(inside)),
        peer(std::move(peer)) {}

  TlsRelay relay;
  UniqueFd inside;  // gRPC's end, until it is handed on
  const std::string peer;
  const TimePoint since = steady_clock::now();
  Watched network;
  Watched plain;
  std::list<Connection>::iterator self;
  bool dropped = false;
};

std::string PeerText(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "?";
  const void* bytes = address.ss_family == AF_INET
                          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(address).sin_addr)
                          : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  inet_ntop(address.ss_family, bytes, text, sizeof text);
  return text;
}

class EpollListener final : public TlsListener {
 public:
  EpollListener(std::shared_ptr<const TlsCredentials> credentials, Accepted accepted)
      : credentials_(std::move(credentials)),
        accepted_(std::move(accepted)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  ~EpollListener() override {
    if (!thread_.joinable()) return;
    stopping_ = true;
    (void)RetryOnSignal([&] { return eventfd_write(wake_.get(), 1); });
    thread_.join();
  }

  Status Listen(const std::vector<HostPort>& addresses) {
    if (!epoll_ || !wake_) return IoError("no sockets for TLS: {}", ErrnoText(errno));
    for (const auto& address : addresses) {
      ASSIGN_OR_RETURN(auto listener, ListenOn(address));
      if (listeners_.empty()) port_ = listener.port;
      listeners_.push_back(std::move(listener.fd));
    }
    SetListening(true);
    Add(wake_.get(), nullptr);
    thread_ = std::thread([this] { Run(); });
    return Ok();
  }

  std::uint16_t port() const override { return port_; }

 private:
  void Add(int fd, void* what) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = what}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  void SetListening(bool listen) {
    if (listening_ == listen) return;
    listening_ = listen;
    for (auto& fd : listeners_) listen ? Add(fd.get(), &fd) : void(epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr));
  }

  // From when on there is room for another handshake, or somebody who makes it.
  TimePoint MayAcceptFrom() const {
    return shaking_.size() < kMostHandshakes ? accept_from_ : std::max(accept_from_, shaking_.front().since + kUndisturbed);
  }

  void Run() {
    TlsRelay::PrepareThread();
    std::array<epoll_event, 64> events;
    while (!stopping_) {
      int count = epoll_wait(epoll_.get(), events.data(), events.size(), static_cast<int>(TimeLeft().count()));
      for (int i = 0; i < count && !stopping_; ++i) {
        void* what = events[i].data.ptr;
        if (what == nullptr) continue;
        auto listener = std::ranges::find(listeners_, what, [](UniqueFd& fd) -> void* { return &fd; });
        if (listener != listeners_.end()) {
          if (MayAcceptFrom() <= steady_clock::now()) Accept(listener->get());
        } else {
          Serve(*static_cast<Connection*>(what));
        }
      }
      DropTheSlow();
      gone_.clear();  // closes their sockets; no event can name them any more
      SetListening(MayAcceptFrom() <= steady_clock::now());
      credentials_->WarnIfDue();
    }
  }

  milliseconds TimeLeft() const {
    TimePoint next = credentials_->NextCheck();
    if (!shaking_.empty()) next = std::min(next, shaking_.front().since + kHandshakeTimeout);
    if (!listening_) next = std::min(next, MayAcceptFrom());
    return std::clamp(std::chrono::ceil<milliseconds>(next - steady_clock::now()), milliseconds(0), kLongestWait);
  }

  void Accept(int listener) {
    sockaddr_storage address{};
    UniqueFd network(RetryOnSignal([&] {
      socklen_t size = sizeof address;
      return accept4(listener, reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }));
    if (!network && (errno == EMFILE || errno == ENFILE)) {
      // Who waits is closed by means of the spare one: else the listener would stay ready, and this thread would spin.
      spare_.Reset();
      network = UniqueFd(RetryOnSignal([&] { return accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); }));
      network.Reset();
      spare_ = UniqueFd(RetryOnSignal([] { return open("/dev/null", O_RDONLY | O_CLOEXEC); }));
    }
    if (!network) {
      if (errno == ENOBUFS || errno == ENOMEM || errno == EMFILE || errno == ENFILE)
        accept_from_ = steady_clock::now() + kPause;
      return;
    }
    if (shaking_.size() >= kMostHandshakes) {  // the one that has had the longest time makes room
      Complain(shaking_.front(), Disconnected("{} others wait to be let in as well", kMostHandshakes));
      Drop(shaking_.front());
    }
    const int on = 1;
    setsockopt(network.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int ends[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return;
    shaking_.emplace_back(credentials_, std::move(network), UniqueFd(ends[0]), UniqueFd(ends[1]), PeerText(address));
    shaking_.back().self = std::prev(shaking_.end());
    Serve(shaking_.back());
  }

  void Serve(Connection& connection) {
    if (connection.dropped) return;  // by an earlier event of this round
    auto before = connection.relay.state();
    auto state = connection.relay.Advance();
    if (before == TlsRelay::State::kHandshake && state == TlsRelay::State::kOpen) {
      open_.splice(open_.end(), shaking_, connection.self);
      accepted_(std::move(connection.inside));
    } else if (before == TlsRelay::State::kHandshake && state != before) {
      Complain(connection, connection.relay.failure());
    }
    if (state == TlsRelay::State::kEnded) return Drop(connection);
    Watch(connection.network, connection.relay.network(), connection.relay.network_events(), &connection);
    Watch(connection.plain, connection.relay.plain(), connection.relay.plain_events(), &connection);
  }

  // One that nothing is wanted of is taken out: epoll would tell again and again that its other end is closed.
  void Watch(Watched& watched, int fd, short events, Connection* connection) {
    if (watched.events == events) return;
    epoll_event event{.events = static_cast<std::uint32_t>(events), .data = {.ptr = connection}};
    int change = events == 0 ? EPOLL_CTL_DEL : watched.events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    epoll_ctl(epoll_.get(), change, fd, &event);
    watched = {.fd = fd, .events = events};
  }

  void Drop(Connection& connection) {
    for (Watched* watched : {&connection.network, &connection.plain}) Watch(*watched, watched->fd, 0, &connection);
    connection.dropped = true;
    auto& list = connection.inside ? shaking_ : open_;
    gone_.splice(gone_.end(), list, connection.self);
  }

  void DropTheSlow() {
    auto now = steady_clock::now();
    while (!shaking_.empty() && shaking_.front().since + kHandshakeTimeout <= now) {
      auto& slow = shaking_.front();
      if (slow.relay.state() == TlsRelay::State::kHandshake)
        Complain(slow, Disconnected("no handshake within {} s", kHandshakeTimeout.count()));
      Drop(slow);
    }
  }

  void Complain(const Connection& connection, const Status& why) {
    auto now = steady_clock::now();
    ++refused_;
    if (why.ok() || now < complain_from_) return;
    complain_from_ = now + kLogPeriod;
    LOG(kWarn, "store: a connection from {} was refused: {} ({} refused so far)", connection.peer, why.message(), refused_);
  }

  const std::shared_ptr<const TlsCredentials> credentials_;
  const Accepted accepted_;
  UniqueFd epoll_;
  UniqueFd wake_;
  UniqueFd spare_{open("/dev/null", O_RDONLY | O_CLOEXEC)};
  std::vector<UniqueFd> listeners_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};

  // The thread's own.
  std::list<Connection> shaking_;  // by age; those that are refused and linger, too
  std::list<Connection> open_;
  std::list<Connection> gone_;
  bool listening_ = false;
  TimePoint accept_from_{};
  std::uint64_t refused_ = 0;
  TimePoint complain_from_{};

  std::thread thread_;  // last: it uses what is above
};

}  // namespace

Result<std::unique_ptr<TlsListener>> TlsListener::Start(const std::vector<HostPort>& addresses,
                                                        std::shared_ptr<const TlsCredentials> credentials, Accepted accepted) {
  auto listener = std::make_unique<EpollListener>(std::move(credentials), std::move(accepted));
  RETURN_IF_ERROR(listener->Listen(addresses));
  return std::unique_ptr<TlsListener>(std::move(listener));
}

}  // namespace memfabric::store
