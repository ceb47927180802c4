#include "store/embedded/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <map>
#include <utility>

#include "base/log.h"
#include "base/retry.h"
#include "base/socket_user.h"
#include "base/thread.h"
#include "store/embedded/listen_address.h"
#include "store/tls/greeting.h"
#include "store/tls/relay.h"

namespace memfabric::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kIntroductionTimeout{5};
constexpr std::chrono::seconds kFirstRequestTimeout{5};  // or TLS's handshake
constexpr milliseconds kUndisturbedSilence{200};
constexpr milliseconds kUndisturbedRequest{500};
constexpr milliseconds kUndisturbedHandshake{1000};
constexpr int kMostAccepts = 32;  // in a row, before others are served
// when the machine refuses another connection for its own reasons
constexpr milliseconds kPause{50};
constexpr std::chrono::seconds kCheckPeriod{1};  // whether the listening sockets still listen
constexpr std::chrono::seconds kLogPeriod{10};
constexpr milliseconds kLongestWait = std::chrono::hours(24);

// For epoll: only that the connection has ended, and once.
constexpr std::uint32_t kEndOnly = EPOLLET;
static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT);

// How many strangers may wait, and how many descriptors are kept from them.
struct Room {
  std::size_t silent = 0;
  std::size_t started = 0;
  int last_fd = 0;

  static Room Now(bool tls) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    const auto most = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 30));
    return {.silent = static_cast<std::size_t>(std::clamp(most / 8, 8, 256)),
            .started = static_cast<std::size_t>(tls ? std::clamp(most / 16, 4, 64)
                                                    : std::clamp(most / 8, 8, 256)),
            .last_fd = most - std::clamp(most / 16, 4, 64)};
  }
};

// A socket of a connection, as epoll knows it.
struct Watched {
  int fd = -1;
  std::uint32_t events = 0;
};

struct ClientConnection;
using Connections = std::list<ClientConnection>;

struct ClientConnection {
  // the relay's with TLS, once there is one; without, a second descriptor of what gRPC has
  UniqueFd network;
  int handed = -1;  // gRPC's descriptor, until its first request
  std::unique_ptr<TlsRelay> relay;
  UniqueFd inside;  // gRPC's end of what is relayed, until it is handed on
  // told why it is refused; what it still sends is read away, so that the reason reaches it
  bool lingers = false;
  in6_addr address{};
  TimePoint since = steady_clock::now();
  Watched network_watch;
  Watched plain_watch;
  Connections* list = nullptr;  // that it is in
  Connections::iterator self;
  bool dropped = false;
};

in6_addr AddressOf(const sockaddr_storage& from) {
  if (from.ss_family == AF_INET6) return reinterpret_cast<const sockaddr_in6&>(from).sin6_addr;
  in6_addr mapped{};
  mapped.s6_addr[10] = mapped.s6_addr[11] = 0xff;
  std::memcpy(&mapped.s6_addr[12], &reinterpret_cast<const sockaddr_in&>(from).sin_addr,
              sizeof(in_addr));
  return mapped;
}

std::string AddressText(const in6_addr& address) {
  char text[INET6_ADDRSTRLEN] = "?";
  const bool mapped = IN6_IS_ADDR_V4MAPPED(&address);
  inet_ntop(mapped ? AF_INET : AF_INET6,
            mapped ? static_cast<const void*>(&address.s6_addr[12]) : &address, text, sizeof text);
  return text;
}

// What it is that has sent `bytes`, which aren't HTTP/2's preface.
std::string WhatSpeaks(std::string_view bytes) {
  if (LooksLikeTls(bytes))
    return "it speaks TLS, and here TLS is off: turn it on here (set_conf_store_tls), or off there";
  return fmt::format(
      "it says '{}', and not what an HTTP/2 client says first: here is a store (etcd v3)",
      Shown(bytes));
}

class EpollListener final : public StoreListener {
 public:
  explicit EpollListener(Options options)
      : options_(std::move(options)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  ~EpollListener() override {
    options_.first_requests->Tell(nullptr);
    if (!thread_.started()) return;
    stopping_ = true;
    eventfd_write(wake_.get(), 1);
    thread_.Join();
  }

  Status Listen() {
    if (!epoll_ || !wake_) return IoError("no descriptors to listen with: {}", ErrnoText(errno));
    for (const auto& address : options_.addresses) {
      ASSIGN_OR_RETURN(auto listening, ListenOn(address));
      doors_.push_back({.address = {address.host, listening.port}, .fd = std::move(listening.fd)});
    }
    SetListening(true);
    Add(wake_.get(), nullptr);
    options_.first_requests->Tell([this] { eventfd_write(wake_.get(), 1); });
    ASSIGN_OR_RETURN(thread_, Thread::Start("mf-listener", [this] { Run(); }));
    return Ok();
  }

  std::uint16_t port() const override { return doors_.front().address.port; }

 private:
  struct ListeningPort {
    HostPort address;
    UniqueFd fd;  // none while it couldn't be opened again
  };

  bool tls() const { return options_.tls != nullptr; }
  milliseconds UndisturbedStart() const {
    return tls() ? kUndisturbedHandshake : kUndisturbedRequest;
  }

  void Add(int fd, void* what) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = what}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  void SetListening(bool listen) {
    if (listening_ == listen) return;
    listening_ = listen;
    for (auto& door : doors_)
      listen ? Add(door.fd.get(), &door)
             : void(epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, door.fd.get(), nullptr));
  }

  void Run() {
    TlsRelay::PrepareThread();
    std::array<epoll_event, 64> events;
    while (!stopping_) {
      int count = epoll_wait(epoll_.get(), events.data(), events.size(),
                             static_cast<int>(TimeLeft().count()));
      for (int i = 0; i < count && !stopping_; ++i) {
        void* what = events[i].data.ptr;
        if (what == nullptr) {
          HearOfRequests();
        } else if (auto door = std::ranges::find(doors_, what,
                                                 [](ListeningPort& one) -> void* { return &one; });
                   door != doors_.end()) {
          Accept(*door);
        } else {
          Serve(*static_cast<ClientConnection*>(what));
        }
      }
      StartThoseThatHaveSpoken();
      DropTheSlow();
      if (steady_clock::now() >= check_at_) CheckDoors();
      gone_.clear();  // closes their sockets; no event can name them any more
      SetListening(MayAcceptFrom() <= steady_clock::now());
      if (tls()) options_.tls->WarnIfDue();
    }
  }

  milliseconds TimeLeft() const {
    TimePoint next = check_at_;
    if (tls()) next = std::min(next, options_.tls->NextCheck());
    if (!silent_.empty()) next = std::min(next, silent_.front().since + kIntroductionTimeout);
    if (!spoken_.empty())
      next = std::min(next,
                      started_.empty() ? TimePoint() : started_.front().since + UndisturbedStart());
    if (!started_.empty()) next = std::min(next, started_.front().since + kFirstRequestTimeout);
    if (!listening_) next = std::min(next, MayAcceptFrom());
    return std::clamp(std::chrono::ceil<milliseconds>(next - steady_clock::now()), milliseconds(0),
                      kLongestWait);
  }

  // --- The doors ---

  // From when on there is room for another stranger, or somebody who makes it.
  TimePoint MayAcceptFrom() const {
    if (silent_.size() + spoken_.size() < Room::Now(tls()).silent) return accept_from_;
    if (silent_.empty()) return TimePoint::max();  // until one of those that have spoken is started
    return std::max(accept_from_, silent_.front().since + kUndisturbedSilence);
  }

  void Accept(ListeningPort& door) {
    for (int i = 0; i < kMostAccepts && MayAcceptFrom() <= steady_clock::now(); ++i) {
      sockaddr_storage address{};
      UniqueFd network = AcceptOne(door, address);
      if (!network) return OnAcceptError(door, errno);
      Receive(std::move(network), AddressOf(address));
    }
  }

  static UniqueFd AcceptOne(const ListeningPort& door, sockaddr_storage& address) {
    return UniqueFd(RetryOnSignal([&] {
      socklen_t size = sizeof address;
      return accept4(door.fd.get(), reinterpret_cast<sockaddr*>(&address), &size,
                     SOCK_CLOEXEC | SOCK_NONBLOCK);
    }));
  }

  void OnAcceptError(ListeningPort& door, int error) {
    switch (error) {
      case EMFILE:
      case ENFILE: {
        // Who waits is told by means of the spare one: else the listener would stay ready, and this
        // thread would spin.
        spare_.Reset();
        sockaddr_storage address{};
        UniqueFd network = AcceptOne(door, address);
        if (network) TellOfNoDescriptors(network.get(), AddressOf(address));
        network.Reset();
        spare_ = UniqueFd(RetryOnSignal([] { return open("/dev/null", O_RDONLY | O_CLOEXEC); }));
        accept_from_ = steady_clock::now() + kPause;
        return;
      }
      case ENOBUFS:
      case ENOMEM: accept_from_ = steady_clock::now() + kPause; return;
      case EBADF:
      case EINVAL:
      case ENOTSOCK:
      case EOPNOTSUPP:
        check_at_ = TimePoint();
        return;  // it doesn't listen any more
      // nobody waits there any more, or the newcomer's connection has ended already
      default: return;
    }
  }

  void TellOfNoDescriptors(int network, const in6_addr& address) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    Status why = Disconnected(
        "the process that serves the store, {}, has hardly a file descriptor left of its {} "
        "(ulimit -n)",
        getpid(), limit.rlim_cur);
    if (!tls()) {
      char unread[64];  // unread bytes would make the kernel take back what is said
      (void)recv(network, unread, sizeof unread, MSG_DONTWAIT);
      Say(network, {.for_good = false, .why = std::string(why.message())});
    }
    Complain(address, why);
  }

  // A door that has stopped to listen, whoever did that, is opened again.
  void CheckDoors() {
    check_at_ = steady_clock::now() + kCheckPeriod;
    for (ListeningPort& door : doors_) {
      int listens = 0;
      socklen_t size = sizeof listens;
      const bool is_ours = door.fd && PortOf(door.fd.get()) == door.address.port;
      if (is_ours && getsockopt(door.fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
          listens != 0)
        continue;
      const bool was_open = static_cast<bool>(door.fd);
      if (listening_) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, door.fd.get(), nullptr);
      if (is_ours) {
        door.fd.Reset();
      } else {
        (void)door.fd.Release();  // somebody has closed it; the number may be another's by now
      }
      auto again = ListenOn(door.address);
      if (again.ok()) {
        door.fd = std::move(again->fd);
        if (listening_) Add(door.fd.get(), &door);
        LOG(kWarn, "store: its socket at {} didn't listen any more: opened again",
            door.address.ToString());
      } else if (was_open) {
        LOG(kError,
            "store: its socket at {} doesn't listen any more, and can't be opened again yet: {}",
            door.address.ToString(), again.status().message());
      }
    }
  }

  static int PortOf(int fd) {
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return -1;
    if (bound.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in&>(bound).sin_port);
    return bound.ss_family == AF_INET6 ? ntohs(reinterpret_cast<sockaddr_in6&>(bound).sin6_port)
                                       : -1;
  }

  // --- Strangers ---

  void Receive(UniqueFd network, const in6_addr& address) {
    const Room room = Room::Now(tls());
    if (silent_.size() + spoken_.size() >= room.silent) MakeRoom(silent_, kUndisturbedSilence);
    if (network.get() > room.last_fd) {
      if (silent_.empty() && started_.empty()) return TellOfNoDescriptors(network.get(), address);
      Evict(silent_.empty() ? started_.front() : silent_.front(),
            "the last descriptors are for those that are known");
    }
    const int on = 1;
    setsockopt(network.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ClientConnection& connection = silent_.emplace_back();
    connection.network = std::move(network);
    connection.address = address;
    connection.list = &silent_;
    connection.self = std::prev(silent_.end());
    Watch(connection, connection.network_watch, connection.network.get(), EPOLLIN | EPOLLET);
    Hear(connection);  // as a rule its first bytes are there already
  }

  // The oldest one that has had its time goes, of the address that has most of those. False: none
  // has had its time.
  bool MakeRoom(Connections& list, milliseconds undisturbed) {
    const TimePoint before = steady_clock::now() - undisturbed;
    const auto text = [](const ClientConnection& one) {
      return std::string_view(reinterpret_cast<const char*>(&one.address), 16);
    };
    std::map<std::string_view, std::size_t> counts;
    std::size_t most = 0;
    for (auto& one : list)
      if (one.since <= before) most = std::max(most, ++counts[text(one)]);
    auto victim = std::ranges::find_if(list, [&](ClientConnection& one) {
      return one.since <= before && counts[text(one)] == most;
    });
    if (victim == list.end()) return false;
    Evict(*victim, "others want to be let in as well, and it had not introduced itself");
    return true;
  }

  // The first bytes of one that has said nothing yet.
  void Hear(ClientConnection& connection) {
    char bytes[64];
    const ssize_t got = recv(connection.network.get(), bytes, sizeof bytes, MSG_PEEK);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return Drop(connection);
    const std::string_view seen(bytes, static_cast<std::size_t>(got));
    const std::string_view begun = seen.substr(0, kHttp2Preface.size());
    if (!tls() && !kHttp2Preface.starts_with(begun))
      return Refuse(connection, {.for_good = true, .why = WhatSpeaks(seen)});
    if (!tls() && begun.size() < kHttp2Preface.size()) return;
    MoveTo(spoken_, connection);
    Watch(connection, connection.network_watch, connection.network.get(), kEndOnly);
  }

  void StartThoseThatHaveSpoken() {
    const Room room = Room::Now(tls());
    while (!spoken_.empty()) {
      if (started_.size() >= room.started && !MakeRoom(started_, UndisturbedStart())) return;
      ClientConnection& connection = spoken_.front();
      MoveTo(started_, connection);
      connection.since = steady_clock::now();
      tls() ? StartHandshake(connection) : HandOn(connection);
    }
  }

  void StartHandshake(ClientConnection& connection) {
    int ends[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
      Complain(connection.address, IoError("no socket pair for TLS: {}", ErrnoText(errno)));
      return Drop(connection);
    }
    Watch(connection, connection.network_watch, connection.network.get(), 0);
    connection.relay =
        std::make_unique<TlsRelay>(options_.tls, TlsRelay::Role::kServer,
                                   std::move(connection.network), UniqueFd(ends[0]), "");
    connection.inside = UniqueFd(ends[1]);
    Serve(connection);
  }

  void HandOn(ClientConnection& connection) {
    auto user = UserOfPeer(connection.network.get());
    if (!user.ok())
      return Refuse(
          connection,
          {.for_good = false,
           .why = fmt::format(
               "a process of the store's host that isn't known to be an allowed user's: {}",
               user.status().message())});
    if (user->has_value() && !options_.users.Has(**user))
      return Refuse(
          connection,
          {.for_good = true,
           .why = fmt::format(
               "the store belongs to user {} and this process to user {}: on one host it admits "
               "{}; "
               "list others in MEMFABRIC_ALLOW_UIDS where the store is served, or use TLS",
               ::geteuid(), **user, options_.users.ToString())});
    UniqueFd second(fcntl(connection.network.get(), F_DUPFD_CLOEXEC, 0));
    if (!second) {
      TellOfNoDescriptors(connection.network.get(), connection.address);
      return Drop(connection);
    }
    Watch(connection, connection.network_watch, connection.network.get(), 0);
    const int fd = connection.network.get();
    for (auto& other : started_)
      // gRPC has closed that one, and it is dropped in a moment
      if (other.handed == fd) other.handed = -1;
    connection.handed = fd;
    options_.first_requests->Expect(fd);
    options_.accepted(std::exchange(connection.network, std::move(second)));
    Watch(connection, connection.network_watch, connection.network.get(), kEndOnly);
  }

  void HearOfRequests() {
    eventfd_t count = 0;
    (void)eventfd_read(wake_.get(), &count);
    for (int fd : options_.first_requests->Take())
      if (auto found = std::ranges::find(started_, fd, &ClientConnection::handed);
          found != started_.end())
        Drop(*found);
  }

  // --- Connections ---

  void Serve(ClientConnection& connection) {
    if (connection.dropped) return;  // by an earlier event of this round
    if (connection.relay != nullptr) return Relay(connection);
    if (connection.lingers) return Linger(connection);
    if (connection.list == &silent_) return Hear(connection);
    Drop(connection);  // it has ended before it was started, or before it asked for anything
  }

  void Relay(ClientConnection& connection) {
    TlsRelay& relay = *connection.relay;
    auto before = relay.state();
    auto state = relay.Advance();
    if (before == TlsRelay::State::kHandshake && state == TlsRelay::State::kOpen) {
      MoveTo(relayed_, connection);
      options_.accepted(std::move(connection.inside));
    } else if (before == TlsRelay::State::kHandshake && state != before) {
      Complain(connection.address, relay.failure());
    }
    if (state == TlsRelay::State::kEnded) return Drop(connection);
    Watch(connection, connection.network_watch, relay.network(),
          static_cast<std::uint16_t>(relay.network_events()));
    Watch(connection, connection.plain_watch, relay.plain(),
          static_cast<std::uint16_t>(relay.plain_events()));
  }

  static void Say(int network, const Goodbye& goodbye) {
    const std::string frames = GoodbyeFrames(goodbye);
    (void)send(network, frames.data(), frames.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(network, SHUT_WR);
  }

  void Refuse(ClientConnection& connection, const Goodbye& goodbye) {
    Complain(connection.address, Disconnected("{}", goodbye.why));
    Say(connection.network.get(), goodbye);
    if (connection.list != &started_) {
      if (started_.size() >= Room::Now(tls()).started && !MakeRoom(started_, UndisturbedStart()))
        return Drop(connection);
      MoveTo(started_, connection);
    }
    connection.since = steady_clock::now();
    connection.lingers = true;
    Watch(connection, connection.network_watch, connection.network.get(), EPOLLIN);
  }

  void Linger(ClientConnection& connection) {
    std::array<char, 4096> bytes;
    for (int reads = 0; reads < 16; ++reads) {
      const ssize_t got = recv(connection.network.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (got <= 0) return Drop(connection);
    }
  }

  void MoveTo(Connections& list, ClientConnection& connection) {
    list.splice(list.end(), *connection.list, connection.self);
    connection.list = &list;
  }

  // One that nothing is wanted of is taken out: epoll would tell again and again that its other end
  // is closed.
  void Watch(ClientConnection& connection, Watched& watched, int fd, std::uint32_t events) {
    if (watched.events == events && (events == 0 || watched.fd == fd)) return;
    epoll_event event{.events = events, .data = {.ptr = &connection}};
    int change = events == 0 ? EPOLL_CTL_DEL : watched.events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    epoll_ctl(epoll_.get(), change, fd, &event);
    watched = {.fd = fd, .events = events};
  }

  void Drop(ClientConnection& connection) {
    for (Watched* watched : {&connection.network_watch, &connection.plain_watch})
      Watch(connection, *watched, watched->fd, 0);
    if (connection.handed >= 0) options_.first_requests->Forget(connection.handed);
    connection.dropped = true;
    MoveTo(gone_, connection);
  }

  void Evict(ClientConnection& connection, std::string_view why) {
    const bool refused =
        connection.lingers ||
        (connection.relay && connection.relay->state() != TlsRelay::State::kHandshake);
    if (!refused) Complain(connection.address, Disconnected("{}", why));
    // gRPC then closes its own
    if (connection.handed >= 0) shutdown(connection.network.get(), SHUT_RDWR);
    Drop(connection);
    // Now, as its descriptors are wanted; an event of this round may still name it.
    connection.network.Reset();
    connection.inside.Reset();
  }

  void DropTheSlow() {
    const auto now = steady_clock::now();
    for (auto* list : {&silent_, &spoken_})
      while (!list->empty() && list->front().since + kIntroductionTimeout <= now)
        Evict(list->front(), "it had not introduced itself within 5 s");
    while (!started_.empty() && started_.front().since + kFirstRequestTimeout <= now)
      Evict(started_.front(), tls() ? "no handshake within 5 s" : "no request within 5 s");
  }

  void Complain(const in6_addr& address, const Status& why) {
    const auto now = steady_clock::now();
    ++refused_;
    if (why.ok() || now < complain_from_) return;
    complain_from_ = now + kLogPeriod;
    LOG(kWarn, "store: a connection from {} was refused: {} ({} refused so far)",
        AddressText(address), why.message(), refused_);
  }

  const Options options_;
  UniqueFd epoll_;
  UniqueFd wake_;
  UniqueFd spare_{open("/dev/null", O_RDONLY | O_CLOEXEC)};
  std::vector<ListeningPort> doors_;
  std::atomic<bool> stopping_{false};

  // The thread's own. Each list is by age.
  Connections silent_;   // have said nothing, or not enough
  Connections spoken_;   // wait until there is room to start
  Connections started_;  // shake hands, or are gRPC's and haven't asked for anything, or linger
  Connections relayed_;
  Connections gone_;
  bool listening_ = false;
  TimePoint accept_from_{};
  TimePoint check_at_ = steady_clock::now() + kCheckPeriod;
  std::uint64_t refused_ = 0;
  TimePoint complain_from_{};

  Thread thread_;  // last: it uses what is above
};

}  // namespace

Result<std::unique_ptr<StoreListener>> StoreListener::Start(Options options) {
  auto listener = std::make_unique<EpollListener>(std::move(options));
  RETURN_IF_ERROR(listener->Listen());
  return std::unique_ptr<StoreListener>(std::move(listener));
}

}  // namespace memfabric::store
