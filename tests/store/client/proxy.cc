#include "store/client/proxy.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/log.h"
#include "base/retry.h"

namespace memfabric::store::test {
namespace {

sockaddr_in Address(const HostPort& endpoint) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint.port);
  CHECK(inet_pton(AF_INET, endpoint.host.c_str(), &address.sin_addr) == 1);
  return address;
}

}  // namespace

UniqueFd ListenOnLoopback(HostPort* address) {
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in bound = Address({.host = "127.0.0.1", .port = 0});
  socklen_t size = sizeof bound;
  CHECK(bind(listener.get(), reinterpret_cast<sockaddr*>(&bound), size) == 0);
  CHECK(listen(listener.get(), 128) == 0);
  CHECK(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &size) == 0);
  *address = {.host = "127.0.0.1", .port = ntohs(bound.sin_port)};
  return listener;
}

Proxy::Proxy(const HostPort& target) : target_(target) {
  listener_ = ListenOnLoopback(&address_);
  wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  thread_ = std::thread([this] { Run(); });
}

Proxy::~Proxy() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
}

void Proxy::Wake() {
  std::uint64_t one = 1;
  CHECK(write(wake_.get(), &one, sizeof one) == sizeof one);
}

void Proxy::Cut() {
  {
    std::lock_guard lock(mutex_);
    pairs_.clear();
  }
  Wake();
}

void Proxy::Refuse(bool refuse) {
  {
    std::lock_guard lock(mutex_);
    refuse_ = refuse;
    if (refuse) pairs_.clear();
  }
  Wake();
}

void Proxy::Stall(bool stall) {
  {
    std::lock_guard lock(mutex_);
    stall_ = stall;
  }
  Wake();
}

void Proxy::PointTo(const HostPort& target) {
  {
    std::lock_guard lock(mutex_);
    target_ = target;
    pairs_.clear();
  }
  Wake();
}

std::size_t Proxy::connections_made() const {
  std::lock_guard lock(mutex_);
  return made_;
}

void Proxy::Accept() {
  UniqueFd client(
      RetryOnSignal([&] { return accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC); }));
  if (!client || refuse_) return;
  UniqueFd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Address(target_);
  if (RetryOnSignal([&] {
        return connect(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
      }) != 0)
    return;
  int on = 1;
  for (int fd : {client.get(), server.get()})
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ++made_;
  pairs_.push_back({std::move(client), std::move(server)});
}

bool Proxy::PassOn(int from, int to) {
  std::array<char, 65536> buffer;
  ssize_t got = recv(from, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN;
  for (ssize_t sent = 0; sent < got;) {
    ssize_t now = RetryOnSignal([&] {
      return send(to, buffer.data() + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
    });
    if (now <= 0) return false;
    sent += now;
  }
  return got > 0;
}

void Proxy::Run() {
  for (;;) {
    std::vector<pollfd> fds{{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      if (!stall_)
        for (const auto& pair : pairs_) {
          fds.push_back({pair.client.get(), POLLIN, 0});
          fds.push_back({pair.server.get(), POLLIN, 0});
        }
    }
    CHECK(RetryOnSignal([&] { return poll(fds.data(), fds.size(), -1); }) > 0);
    std::uint64_t count;
    while (read(wake_.get(), &count, sizeof count) > 0) {
    }
    std::lock_guard lock(mutex_);
    if (fds[1].revents != 0) Accept();
    if (stall_) continue;
    std::erase_if(pairs_, [&](const Pair& pair) {
      return !PassOn(pair.client.get(), pair.server.get()) ||
             !PassOn(pair.server.get(), pair.client.get());
    });
  }
}

}  // namespace memfabric::store::test
