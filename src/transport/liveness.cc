#include "transport/liveness.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/retry.h"
#include "transport/local_socket.h"

namespace memfabric::transport {
namespace {

constexpr int kBacklog = 8;  // callers don't wait: a full queue says "alive" too

}  // namespace

Result<std::unique_ptr<LivenessSocket>> LivenessSocket::Bind(Reactor& reactor) {
  std::string name = "memfabric-life-" + RandomHex128();
  ASSIGN_OR_RETURN(UniqueFd socket, ListenLocal(SOCK_STREAM, name, kBacklog));
  int fd = socket.get();
  auto liveness = std::make_unique<LivenessSocket>(reactor, std::move(name), std::move(socket));
  RETURN_IF_ERROR(reactor.Add(fd, EPOLLIN | EPOLLET, [fd](std::uint32_t) {
    auto accept = [fd] { return UniqueFd(RetryOnSignal([fd] { return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); })); };
    while (accept().get() >= 0 || errno == ECONNABORTED) continue;
  }));
  return liveness;
}

LivenessSocket::LivenessSocket(Reactor& reactor, std::string name, UniqueFd socket)
    : reactor_(reactor), name_(std::move(name)), socket_(std::move(socket)) {}

LivenessSocket::~LivenessSocket() { reactor_.Remove(socket_.get()); }

bool IsAlive(std::string_view name) {
  auto socket = ConnectLocal(SOCK_STREAM, name);
  if (socket.ok()) return true;
  // A refused connection is the proof of death; a full queue, or no fd left here, is none.
  return IsInUse(socket.status()) || IsOutOfMemory(socket.status());
}

}  // namespace memfabric::transport
