#include "trans/rpc_port.h"

#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/retry.h"
#include "transport/unix_socket.h"

namespace memfabric::trans {
namespace {

constexpr unsigned kFirst = 15000;
constexpr unsigned kCount = 10001;

// A socket bound to `port` of all addresses, IPv4's too; none if anybody has it.
UniqueFd Bind(unsigned port) {
  UniqueFd socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  bool v6 = static_cast<bool>(socket);
  if (!v6) socket = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return {};
  int off = 0;
  int on = 1;
  int bound;
  if (v6) {
    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(static_cast<std::uint16_t>(port));
    bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  if (bound != 0) return {};
  // from now on others may listen there
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return socket;
}

}  // namespace

Result<std::unique_ptr<RpcPort>> RpcPort::Take() {
  unsigned start = 0;  // anywhere, so that processes that start together don't try the same ones
  if (RetryOnSignal([&] { return ::getrandom(&start, sizeof start, 0); }) != sizeof start)
    start = 0;
  for (unsigned i = 0; i < kCount; ++i) {
    unsigned port = kFirst + (start % kCount + i) % kCount;
    auto name = transport::ListenUnix(SOCK_STREAM, fmt::format("memfabric-rpc-port-{}", port), 0);
    if (IsInUse(name.status())) continue;
    if (!name.ok()) return std::move(name).status();
    UniqueFd socket = Bind(port);
    if (socket)
      return std::make_unique<RpcPort>(static_cast<std::uint16_t>(port), std::move(*name),
                                       std::move(socket));
  }
  return InUse("no port from {} to {} is free", kFirst, kFirst + kCount - 1);
}

}  // namespace memfabric::trans
