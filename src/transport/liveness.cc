#include "transport/liveness.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>

#include "base/allowed_users.h"
#include "base/retry.h"
#include "transport/unix_socket.h"

namespace memfabric::transport {
namespace {

// callers don't wait: a full queue says "alive" too
constexpr int kBacklog = 8;
// then the user's number, "-", and what is random
constexpr std::string_view kPrefix = "memfabric-life-";

bool Names(std::string_view name, uid_t user) {
  if (!name.starts_with(kPrefix)) return false;
  name.remove_prefix(kPrefix.size());
  uid_t named = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), named);
  return error == std::errc() && end != name.data() + name.size() && *end == '-' && named == user;
}

}  // namespace

Result<std::unique_ptr<LivenessSocket>> LivenessSocket::Bind(Reactor& reactor) {
  std::string name = fmt::format("{}{}-{}", kPrefix, ::geteuid(), RandomHex128());
  ASSIGN_OR_RETURN(UniqueFd socket, ListenUnix(SOCK_STREAM, name, kBacklog));
  int fd = socket.get();
  auto liveness = std::make_unique<LivenessSocket>(reactor, std::move(name), std::move(socket));
  RETURN_IF_ERROR(reactor.Add(fd, EPOLLIN | EPOLLET, [fd](std::uint32_t) {
    auto accept = [fd] {
      return UniqueFd(
          RetryOnSignal([fd] { return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); }));
    };
    while (accept().get() >= 0 || errno == ECONNABORTED) continue;
  }));
  return liveness;
}

LivenessSocket::LivenessSocket(Reactor& reactor, std::string name, UniqueFd socket)
    : reactor_(reactor), name_(std::move(name)), socket_(std::move(socket)) {}

LivenessSocket::~LivenessSocket() { reactor_.Remove(socket_.get()); }

bool IsAlive(std::string_view name) {
  auto socket = ConnectUnix(SOCK_STREAM, name);
  if (socket.ok()) {
    ucred holder{};
    socklen_t size = sizeof holder;
    if (::getsockopt(socket->get(), SOL_SOCKET, SO_PEERCRED, &holder, &size) != 0) return true;
    if (Names(name, holder.uid)) return true;
    auto allowed = AllowedUsers::FromEnvironment();
    return holder.uid == ::geteuid() || (allowed.ok() && allowed->Has(holder.uid));
  }
  // A refused connection is the proof of death; a full queue, or no fd left here, is none.
  return IsInUse(socket.status()) || IsOutOfMemory(socket.status());
}

}  // namespace memfabric::transport
