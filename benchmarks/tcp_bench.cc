// tcp_bench [server-namespace client-namespace server-address client-address]: the TCP transport
// between two processes, each in its network namespace if any are given, against bare sockets
// between the same two in turns. Prints JSON; run.py makes bars of it.
//
// The server is a fork of this program. It holds rank 1 (and, for the many-to-one rows, is rank 0's
// peers), and serves the references on listening sockets of its own: a byte stream that is read and
// acknowledged or sent on order, a ping-pong, and the same stream inside OpenSSL's TLS.

#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "address/window.h"
#include "base/addresses.h"
#include "base/log.h"
#include "base/units.h"
#include "memory/segment.h"
#include "transport/reactor.h"
#include "transport/tcp/listen.h"
#include "transport/tcp/tcp_transport.h"
#include "transport/tcp/tls.h"

namespace {

using namespace memfabric;  // NOLINT(google-build-using-namespace): this program has nothing else
using namespace memfabric::transport;  // NOLINT(google-build-using-namespace)
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSlotBytes = 64_MiB;
constexpr std::uint32_t kWorldSize = 70;
constexpr std::size_t kChunk = 1_MiB;  // of the bare streams, as iperf3 -l 1M

Deadline Soon() { return Clock::now() + std::chrono::seconds(60); }

void Must(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "tcp_bench: {}\n", status.ToString());
  std::_Exit(1);
}
template <typename T>
T Must(Result<T> result) {
  Must(result.status());
  return std::move(*result);
}

double Seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

double CpuSeconds() {
  rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// A member with one segment, on its own reactor.
class Member final : public PeerObserver {
 public:
  Member(Rank rank, const std::string& nic, bool encrypt, bool contributes) : rank_(rank) {
    reactor_ = Must(Reactor::Create());
    transport_ = std::make_unique<TcpTransport>(*reactor_);
    window_ = Must(Window::ReserveAnywhere(kWorldSize * kSlotBytes));
    PortOptions options;
    if (contributes) {
      SegmentOptions segment;
      segment.max_bytes = segment.allocated_bytes = kSlotBytes;
      segment.fault_in = true;
      segment_ = Must(Segment::Create(segment));
      Must(segment_->MapInto(window_, rank * kSlotBytes));
      options.zones.segments[Index(Zone::kHost)] = segment_.get();
    }
    options.pool = encrypt ? "bench/tls" : "bench/plain";
    options.rank = rank;
    options.epoch = 1;
    options.host = "bench";
    options.world_size = kWorldSize;
    options.zones.window = window_;
    options.zones.slot_begin = [](Zone, Rank of) { return of * kSlotBytes; };
    options.zones.max_bytes[Index(Zone::kHost)] = kSlotBytes;
    options.observer = this;
    options.network.nic = nic;
    options.network.encrypt = encrypt;
    pool_ = options.pool;
    port_ = Must(transport_->Open(options));
  }
  ~Member() override { port_.reset(); }

  MemberAddress address() const { return {pool_, rank_, 1, "bench", ::getpid(), port_->advert()}; }
  std::shared_ptr<Link> Connect(const MemberAddress& to) {
    Must(port_->Connect(to, Soon()));
    std::lock_guard lock(mutex_);
    return links_.at(to.rank);
  }

  Status OnPeerArriving(Rank, std::uint64_t) override { return Ok(); }
  void OnLinkUp(std::shared_ptr<Link> link) override {
    std::lock_guard lock(mutex_);
    const Rank rank = link->rank();
    links_[rank] = std::move(link);
  }
  void OnPeerGrown(Rank, std::uint64_t) override {}
  void OnLinkDown(Rank rank, std::uint64_t, const Status&) override {
    std::lock_guard lock(mutex_);
    links_.erase(rank);
  }

 private:
  const Rank rank_;
  std::string pool_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Transport> transport_;
  std::shared_ptr<Window> window_;
  std::unique_ptr<Segment> segment_;
  std::mutex mutex_;  // guards links_
  std::map<Rank, std::shared_ptr<Link>> links_;
  std::unique_ptr<Port> port_;
};

void EnterNamespace(const std::string& name) {
  if (name.empty()) return;
  UniqueFd file(::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::setns(file.get(), CLONE_NEWNET) != 0)
    Must(IoError("can't enter the namespace {}: {}", name, ErrnoText(errno)));
}

// Bare sockets: what the transport is held against.

void SendAll(int socket, const std::byte* bytes, std::size_t size, std::size_t chunk = kChunk) {
  while (size > 0) {
    ssize_t sent = ::send(socket, bytes, std::min(size, chunk), MSG_NOSIGNAL);
    if (sent <= 0) std::_Exit(2);
    bytes += sent;
    size -= static_cast<std::size_t>(sent);
  }
}

bool ReceiveAll(int socket, std::byte* bytes, std::size_t size) {
  while (size > 0) {
    ssize_t got = ::recv(socket, bytes, std::min(size, kChunk), 0);
    if (got <= 0) return false;
    bytes += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

// Busy: never sleeps.
bool Exchange8(int socket, bool busy, bool send_first) {
  std::byte bytes[8] = {};
  if (send_first) SendAll(socket, bytes, sizeof bytes);
  std::size_t got = 0;
  while (got < sizeof bytes) {
    ssize_t more = ::recv(socket, bytes + got, sizeof bytes - got, busy ? MSG_DONTWAIT : 0);
    if (more == 0 || (more < 0 && errno != EAGAIN)) return false;
    if (more < 0) ::sched_yield();
    if (more > 0) got += static_cast<std::size_t>(more);
  }
  if (!send_first) SendAll(socket, bytes, sizeof bytes);
  return true;
}

struct Order {
  enum class What : std::uint64_t { kTake, kGive, kPingPong, kBusyPingPong };
  What what;
  std::uint64_t size_bytes;
  std::uint64_t count;
};

void ServeBare(UniqueFd socket) {
  std::vector<std::byte> memory(kSlotBytes, std::byte{1});
  Order order;
  while (ReceiveAll(socket.get(), reinterpret_cast<std::byte*>(&order), sizeof order)) {
    for (std::uint64_t i = 0; i < order.count; ++i) {
      switch (order.what) {
        case Order::What::kTake:
          if (!ReceiveAll(socket.get(), memory.data(), order.size_bytes)) return;
          SendAll(socket.get(), memory.data(), 1);
          break;
        case Order::What::kGive:
          if (!ReceiveAll(socket.get(), memory.data(), 1)) return;
          SendAll(socket.get(), memory.data(), order.size_bytes);
          break;
        default: Exchange8(socket.get(), order.what == Order::What::kBusyPingPong, false);
      }
    }
  }
}

constexpr tcp::PresharedKey kBareKey{1, 2, 3};

void ServeTls(const tcp::Tls& tls, UniqueFd socket) {
  tcp::Tls::Identity identity([](std::string_view) { return &kBareKey; }, true);
  std::vector<std::byte> memory(kSlotBytes, std::byte{1});
  tcp::SslPtr ssl = Must(tls.Begin(socket.get(), false, identity));
  if (SSL_do_handshake(ssl.get()) != 1) return;
  std::uint64_t size;
  std::size_t moved = 0;
  while (SSL_read_ex(ssl.get(), &size, sizeof size, &moved) == 1) {
    for (std::uint64_t done = 0; done < size; done += moved) {
      if (SSL_read_ex(ssl.get(), memory.data() + done, size - done, &moved) != 1) return;
    }
    SSL_write_ex(ssl.get(), &size, 1, &moved);
  }
}

UniqueFd ConnectTo(const HostPort& address) {
  auto to = ToSocketAddress(address);
  UniqueFd socket(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(socket.get(), to.get(), to.size_bytes) != 0)
    Must(IoError("can't connect: {}", ErrnoText(errno)));
  int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

UniqueFd AcceptFrom(int listener) {
  pollfd ready{listener, POLLIN, 0};
  ::poll(&ready, 1, -1);
  UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

// One line each: the adverts of rank 1, plain and encrypted, and the ports of the bare servers.
// Then a line of its CPU seconds for every line on `orders`; "fan N ADVERT" first puts 1 MiB at a
// time from N ranks into the advert's for a second.
[[noreturn]] void Serve(const std::string& host, const std::string& name, int orders, int answers) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  EnterNamespace(name);
  const std::string nic = fmt::format("tcp://{}:0", host);
  Member plain(1, nic, false, true);
  Member encrypted(1, nic, true, true);
  auto bare = Must(tcp::Listen({host, 0}));
  auto bare_tls = Must(tcp::Listen({host, 0}));
  std::unique_ptr<tcp::Tls> tls = Must(tcp::Tls::Create());
  std::thread([&] {
    while (true) std::thread(ServeBare, AcceptFrom(bare.socket.get())).detach();
  }).detach();
  std::thread([&] {
    while (true)
      std::thread([&, socket = AcceptFrom(bare_tls.socket.get())]() mutable {
        ServeTls(*tls, std::move(socket));
      }).detach();
  }).detach();
  std::FILE* out = ::fdopen(answers, "w");
  std::FILE* in = ::fdopen(orders, "r");
  fmt::print(out, "{}\n{}\n{}\n{}\n", plain.address().advert, encrypted.address().advert,
             bare.address.port, bare_tls.address.port);
  std::fflush(out);
  std::vector<std::unique_ptr<Member>> fan;
  std::vector<std::shared_ptr<Link>> links;
  char line[4096];
  while (std::fgets(line, sizeof line, in) != nullptr) {
    std::string text(line, std::strcspn(line, "\n"));
    std::string rates;
    if (text.starts_with("fan ")) {
      const std::size_t count = std::strtoul(text.c_str() + 4, nullptr, 10);
      MemberAddress to{"bench/plain", 0, 1, "bench", 1, text.substr(text.find(' ', 4) + 1)};
      while (fan.size() < count) {
        fan.push_back(
            std::make_unique<Member>(static_cast<Rank>(2 + fan.size()), nic, false, false));
        links.push_back(fan.back()->Connect(to));
      }
      std::vector<std::uint64_t> rounds(count);
      std::vector<std::thread> threads;
      const auto end = Clock::now() + std::chrono::seconds(2);
      for (std::size_t i = 0; i < count; ++i) {
        threads.emplace_back([&, i] {
          std::vector<std::byte> memory(1_MiB, std::byte{1});
          Piece piece{memory.data(), (i % 60) * 1_MiB, memory.size()};
          while (Clock::now() < end) {
            Must(links[i]->zones()->Put(Zone::kHost, {&piece, 1}));
            Must(links[i]->Flush(Soon()));
            ++rounds[i];
          }
        });
      }
      for (auto& thread : threads) thread.join();
      for (std::uint64_t each : rounds) rates += fmt::format(" {}", each);
    }
    fmt::print(out, "{:.6f}{}\n", CpuSeconds(), rates);
    std::fflush(out);
  }
  std::_Exit(0);
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

std::map<std::string, std::map<std::string, std::vector<double>>> results;
void Note(const std::string& row, const std::string& side, double value) {
  results[row][side].push_back(value);
}

double Timed(const std::function<void()>& work) {
  auto begin = Clock::now();
  work();
  return Seconds(Clock::now() - begin);
}

class Client {
 public:
  Client(const std::string& host, std::string only, std::FILE* orders, std::FILE* answers)
      : host_(host), only_(std::move(only)), orders_(orders), answers_(answers) {
    plain_advert_ = Line();
    encrypted_advert_ = Line();
    bare_port_ = static_cast<std::uint16_t>(std::stoi(Line()));
    tls_port_ = static_cast<std::uint16_t>(std::stoi(Line()));
  }

  std::string Ask(const std::string& order) {
    fmt::print(orders_, "{}\n", order);
    std::fflush(orders_);
    return Line();
  }

  void Run(const std::string& own_nic, bool quick) {
    Member me(0, own_nic, false, true);
    auto link = me.Connect({"bench/plain", 1, 1, "bench", 1, plain_advert_});
    Member me_encrypted(0, own_nic, true, true);
    auto encrypted = me_encrypted.Connect({"bench/tls", 1, 1, "bench", 1, encrypted_advert_});
    UniqueFd bare = ConnectTo({host_, bare_port_});
    std::vector<std::byte> memory(kSlotBytes, std::byte{2});

    const int rounds = quick ? 3 : 9;
    if (Wanted("copies")) Copies(*link, bare.get(), memory, rounds, quick ? 256_MiB : 1_GiB);
    if (Wanted("batch")) Batch(*link, memory, rounds);
    if (Wanted("latency")) Latency(*link, bare.get(), rounds);
    if (Wanted("tls")) Tls(*encrypted, memory, rounds);
    if (Wanted("fan")) {
      for (int round = 0; round < (quick ? 1 : 3); ++round) {
        for (std::size_t count : {1, 64}) Fan(me.address().advert, count);
      }
      Note("idle", "cpu_percent", IdlePercent());
    }
  }

 private:
  std::string Line() {
    char line[4096];
    if (std::fgets(line, sizeof line, answers_) == nullptr) Must(IoError("the server is gone"));
    return std::string(line, std::strcspn(line, "\n"));
  }

  bool Wanted(std::string_view part) const { return only_.empty() || only_ == part; }

  void Copies(Link& link, int bare, std::vector<std::byte>& memory, int rounds,
              std::uint64_t total) {
    auto cpu = [&] { return CpuSeconds() + std::stod(Ask("cpu")); };
    for (std::uint64_t size : {1_MiB, 16_MiB, 64_MiB}) {
      const std::uint64_t count = total / size;
      const double gigabytes = 1e-9 * static_cast<double>(total);
      Piece piece{memory.data(), 0, size};
      for (int round = 0; round < 2 * rounds; ++round) {
        const bool put = round % 2 == 0;
        const std::string row = fmt::format("{}_{}MiB", put ? "put" : "get", size >> 20);
        double before = cpu();
        const double ours = Timed([&] {
          for (std::uint64_t i = 0; i < count; ++i) {
            Must(put ? link.zones()->Put(Zone::kHost, {&piece, 1})
                     : link.zones()->Get(Zone::kHost, {&piece, 1}));
            Must(link.Flush(Soon()));
          }
        });
        Note(row, "ours", gigabytes / ours);
        Note(row, "ours_cpu", (cpu() - before) / gigabytes);
        before = cpu();
        const double reference = Timed([&] { BareStream(bare, put, size, count, memory); });
        Note(row, "reference_socket", gigabytes / reference);
        Note(row, "reference_socket_cpu", (cpu() - before) / gigabytes);
      }
    }
  }

  // Of both processes together, while 64 connections and more are open and nothing is asked.
  double IdlePercent() {
    const double before = CpuSeconds() + std::stod(Ask("cpu"));
    ::poll(nullptr, 0, 2000);
    return (CpuSeconds() + std::stod(Ask("cpu")) - before) / 2 * 100;
  }

  static void BareStream(int socket, bool put, std::uint64_t size, std::uint64_t count,
                         std::vector<std::byte>& memory) {
    Order order{put ? Order::What::kTake : Order::What::kGive, size, count};
    SendAll(socket, reinterpret_cast<std::byte*>(&order), sizeof order);
    std::byte one{};
    for (std::uint64_t i = 0; i < count; ++i) {
      if (put) {
        SendAll(socket, memory.data(), size);
        ReceiveAll(socket, &one, 1);
      } else {
        SendAll(socket, &one, 1);
        ReceiveAll(socket, memory.data(), size);
      }
    }
  }

  // DeepSeek-R1's KV block: 61 layers of 128 KiB and 16 KiB.
  static void Batch(Link& link, std::vector<std::byte>& memory, int rounds) {
    std::vector<Piece> pieces;
    std::uint64_t local = 0, remote = 0;
    for (int layer = 0; layer < 61; ++layer) {
      for (std::uint64_t size : {128_KiB, 16_KiB}) {
        pieces.push_back({memory.data() + local, remote, size});
        local += size + 64_KiB;
        remote += size + 96_KiB;
      }
    }
    std::uint64_t bytes = 0;
    for (const Piece& piece : pieces) bytes += piece.size_bytes;
    Piece whole{memory.data(), 0, bytes};
    for (int round = 0; round < 2 * rounds; ++round) {
      for (bool put : {true, false}) {
        for (bool batch : {true, false}) {
          const double seconds = Timed([&] {
            std::span<const Piece> list =
                batch ? std::span<const Piece>(pieces) : std::span<const Piece>(&whole, 1);
            for (int i = 0; i < 20; ++i) {
              Must(put ? link.zones()->Put(Zone::kHost, list)
                       : link.zones()->Get(Zone::kHost, list));
              Must(link.Flush(Soon()));
            }
          });
          Note(put ? "kv_put" : "kv_get", batch ? "ours" : "reference_contiguous",
               1e6 * seconds / 20);
        }
      }
    }
  }

  static void Latency(Link& link, int bare, int rounds) {
    std::uint64_t word = 1;
    Piece piece{reinterpret_cast<std::byte*>(&word), 0, sizeof word};
    constexpr int kCount = 2000;
    for (int round = 0; round < rounds; ++round) {
      for (bool put : {true, false}) {
        std::vector<double> times;
        for (int i = 0; i < kCount; ++i) {
          times.push_back(1e6 * Timed([&] {
                            Must(put ? link.zones()->Put(Zone::kHost, {&piece, 1})
                                     : link.zones()->Get(Zone::kHost, {&piece, 1}));
                            Must(link.Flush(Soon()));
                          }));
        }
        Note(put ? "put_8B" : "get_8B", "ours", Median(times));
      }
      for (bool busy : {true, false}) {
        Order order{busy ? Order::What::kBusyPingPong : Order::What::kPingPong, 8, kCount};
        SendAll(bare, reinterpret_cast<std::byte*>(&order), sizeof order);
        std::vector<double> times;
        for (int i = 0; i < kCount; ++i)
          times.push_back(1e6 * Timed([&] { Exchange8(bare, busy, true); }));
        for (const char* row : {"put_8B", "get_8B"})
          Note(row, busy ? "reference_busy" : "reference_blocking", Median(times));
      }
    }
  }

  void Tls(Link& link, std::vector<std::byte>& memory, int rounds) {
    auto tls = Must(tcp::Tls::Create());
    tcp::Tls::Identity identity(kBareKey, "bench", true);
    UniqueFd socket = ConnectTo({host_, tls_port_});
    tcp::SslPtr ssl = Must(tls->Begin(socket.get(), true, identity));
    if (SSL_do_handshake(ssl.get()) != 1) Must(IoError("no TLS: {}", tcp::TlsErrorText()));
    std::uint64_t size = 64_MiB;
    Piece piece{memory.data(), 0, size};
    for (int round = 0; round < rounds; ++round) {
      for (bool put : {true, false}) {
        const double ours = Timed([&] {
          Must(put ? link.zones()->Put(Zone::kHost, {&piece, 1})
                   : link.zones()->Get(Zone::kHost, {&piece, 1}));
          Must(link.Flush(Soon()));
        });
        Note(put ? "tls_put_64MiB" : "tls_get_64MiB", "ours",
             1e-9 * static_cast<double>(size) / ours);
      }
      const double reference = Timed([&] {
        std::size_t moved = 0;
        SSL_write_ex(ssl.get(), &size, sizeof size, &moved);
        for (std::uint64_t done = 0; done < size; done += moved) {
          if (SSL_write_ex(ssl.get(), memory.data() + done, std::min(size - done, kChunk),
                           &moved) != 1)
            std::_Exit(2);
        }
        std::byte one;
        SSL_read_ex(ssl.get(), &one, 1, &moved);
      });
      for (const char* row : {"tls_put_64MiB", "tls_get_64MiB"})
        Note(row, "reference_openssl", 1e-9 * static_cast<double>(size) / reference);
    }
  }

  void Fan(const std::string& advert, std::size_t count) {
    std::string answer = Ask(fmt::format("fan {} {}", count, advert));
    std::vector<double> rounds;
    char* next = nullptr;
    (void)std::strtod(answer.c_str(), &next);
    while (*next != '\0') rounds.push_back(std::strtod(next, &next));
    double sum = 0;
    for (double each : rounds) sum += each;
    Note("fan_in", count == 1 ? "one_mib_s" : "all_mib_s", sum / 2);
    if (count > 1)
      Note("fan_in", "slowest_share",
           *std::min_element(rounds.begin(), rounds.end()) * static_cast<double>(count) / sum);
  }

  const std::string host_;
  const std::string only_;  // one part; "": all
  std::FILE* orders_;
  std::FILE* answers_;
  std::string plain_advert_;
  std::string encrypted_advert_;
  std::uint16_t bare_port_ = 0;
  std::uint16_t tls_port_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  std::string only;
  std::vector<std::string> places;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument.starts_with("--only=")) {
      only = argument.substr(7);
    } else {
      places.push_back(argument);
    }
  }
  if (places.empty()) places = {"", "", "127.0.0.1", "127.0.0.1"};
  if (places.size() != 4) {
    fmt::print(stderr,
               "tcp_bench [server-namespace client-namespace server-address client-address] "
               "[--quick] [--only=PART]\n");
    return 2;
  }
  const auto& [server_space, client_space, host, own_host] =
      std::tie(places[0], places[1], places[2], places[3]);
  int orders[2];
  int answers[2];
  if (::pipe2(orders, O_CLOEXEC) != 0 || ::pipe2(answers, O_CLOEXEC) != 0) return 1;
  const pid_t server = ::fork();
  if (server == 0) {
    ::close(orders[1]);
    ::close(answers[0]);
    Serve(host, server_space, orders[0], answers[1]);
  }
  ::close(orders[0]);
  ::close(answers[1]);
  EnterNamespace(client_space);
  std::FILE* to = ::fdopen(orders[1], "w");
  {
    Client client(host, only, to, ::fdopen(answers[0], "r"));
    client.Run(fmt::format("tcp://{}:0", own_host), quick);
  }
  std::fclose(to);
  ::waitpid(server, nullptr, 0);
  std::string text;
  for (const auto& [row, sides] : results) {
    std::string inner;
    for (const auto& [side, values] : sides) {
      std::string list;
      for (double value : values) list += fmt::format("{}{:.4f}", list.empty() ? "" : ", ", value);
      inner += fmt::format("{}\"{}\": [{}]", inner.empty() ? "" : ", ", side, list);
    }
    text += fmt::format("{}\"{}\": {{{}}}", text.empty() ? "" : ",\n ", row, inner);
  }
  fmt::print("{{{}}}\n", text);
  return 0;
}
