#include "store/embedded/listen_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>

#include "base/fd.h"

namespace memfabric::store {
namespace {

struct AddressesDeleter {
  void operator()(addrinfo* addresses) const { freeaddrinfo(addresses); }
};

// Listens for a moment, as gRPC will; gRPC itself tells nobody why it couldn't. 0 or an errno.
int TryToListen(const addrinfo& address) {
  UniqueFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.ai_family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0) return errno;
  return listen(fd.get(), 1) == 0 ? 0 : errno;
}

}  // namespace

Result<std::vector<HostPort>> FindListenAddresses(const HostPort& listen) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(listen.host.c_str(), std::to_string(listen.port).c_str(), &hints, &found);
  if (error != 0) return NotFound("the host name {} can't be resolved: {}", listen.host, gai_strerror(error));
  const std::unique_ptr<addrinfo, AddressesDeleter> addresses(found);

  std::vector<HostPort> usable;
  int why_not = EADDRNOTAVAIL;
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    const int refused = TryToListen(*address);
    if (refused == EADDRINUSE)
      return InUse("{} is in use by another process, or another server of this one", listen.ToString());
    if (refused != 0) {
      why_not = refused;
      continue;
    }
    char text[NI_MAXHOST] = {};
    if (getnameinfo(address->ai_addr, address->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) continue;
    if (listen.port == 0 && !usable.empty()) break;
    usable.push_back({text, listen.port});
  }
  if (!usable.empty()) return usable;
  if (why_not == EADDRNOTAVAIL || why_not == EAFNOSUPPORT) return NotFound("{} is none of this host's addresses", listen.host);
  return IoError("cannot listen on {}: {}", listen.ToString(), ErrnoText(why_not));
}

}  // namespace memfabric::store
