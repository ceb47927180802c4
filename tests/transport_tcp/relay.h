// A network between a connector and a member's port: passes one connection on, at full speed or at
// about 1 MB/s, and keeps what the connector said.

#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/retry.h"
#include "transport_tcp/raw_peer.h"

namespace memfabric::transport::test {

class Relay {
 public:
  enum class Pace { kFull, kSlow };

  Relay(const HostPort& to, Pace pace) : listener_(*tcp::Listen({"127.0.0.1", 0})) {
    const int small = 64 << 10;  // so that what waits, waits in the connector
    if (pace == Pace::kSlow)
      ::setsockopt(listener_.socket.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    thread_ = std::thread([this, to, pace] { Run(to, pace); });
  }
  ~Relay() {
    if (thread_.joinable()) thread_.join();
  }

  const HostPort& address() const { return listener_.address; }
  // Waits for the end of the connection.
  const std::vector<std::byte>& Said() {
    thread_.join();
    return said_;
  }

 private:
  void Run(const HostPort& to, Pace pace) {
    pollfd ready{listener_.socket.get(), POLLIN, 0};
    RetryOnSignal([&] { return ::poll(&ready, 1, -1); });
    UniqueFd client(RetryOnSignal(
        [&] { return ::accept4(listener_.socket.get(), nullptr, nullptr, SOCK_CLOEXEC); }));
    auto at = ToSocketAddress(to);
    UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(RetryOnSignal([&] { return ::connect(server.get(), at.get(), at.size_bytes); }), 0);
    for (bool open = true; open;) {
      pollfd both[2] = {{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}};
      RetryOnSignal([&] { return ::poll(both, 2, -1); });
      for (int i = 0; i < 2; ++i) {
        if (both[i].revents == 0) continue;
        std::byte bytes[16 << 10];
        ssize_t got = RetryOnSignal([&] { return ::recv(both[i].fd, bytes, sizeof bytes, 0); });
        if (got <= 0) open = false;
        if (got > 0 && i == 0 && pace == Pace::kFull) said_.insert(said_.end(), bytes, bytes + got);
        for (ssize_t sent = 0; sent < got;) {
          ssize_t more = RetryOnSignal([&] {
            return ::send(both[1 - i].fd, bytes + sent, static_cast<std::size_t>(got - sent),
                          MSG_NOSIGNAL);
          });
          if (more <= 0) break;
          sent += more;
        }
        // What a slow network is, not a wait for something to happen.
        if (pace == Pace::kSlow && got > 0)
          std::this_thread::sleep_for(std::chrono::milliseconds(16) * got / sizeof bytes);
      }
    }
  }

  tcp::ListeningSocket listener_;
  std::thread thread_;
  std::vector<std::byte> said_;
};

}  // namespace memfabric::transport::test
