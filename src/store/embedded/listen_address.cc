#include "store/embedded/listen_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>

#include "base/addresses.h"
#include "base/fd.h"

namespace memfabric::store {
namespace {

struct AddressesDeleter {
  void operator()(addrinfo* addresses) const { freeaddrinfo(addresses); }
};

// 0, and `listening` listens; or an errno.
int TryToListen(const addrinfo& address, UniqueFd* listening) {
  UniqueFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno;
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.ai_family == AF_INET6)
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0) return errno;
  if (listen(fd.get(), SOMAXCONN) != 0) return errno;
  *listening = std::move(fd);
  return 0;
}

Result<std::unique_ptr<addrinfo, AddressesDeleter>> Resolve(const HostPort& listen) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(listen.host.c_str(), std::to_string(listen.port).c_str(), &hints, &found);
  if (error != 0)
    return NotFound("the host name {} can't be resolved: {}", listen.host, gai_strerror(error));
  return std::unique_ptr<addrinfo, AddressesDeleter>(found);
}

Status Taken(const HostPort& listen) {
  return InUse("{} is in use by another process, or another server of this one", listen.ToString());
}

// A name that this host's /etc/hosts leads to loopback (Debian has "127.0.1.1 name" there) leads
// others to an address that they reach. Which one, only they know: it is one of these.
Status AddAddressesOfOthers(const HostPort& listen, std::vector<HostPort>* usable) {
  auto is_loopback = [](const HostPort& address) { return IsLoopbackHost(address.host); };
  if (NamesLoopback(listen.host) || !std::ranges::all_of(*usable, is_loopback)) return Ok();
  ASSIGN_OR_RETURN(const auto addresses, InterfaceAddresses());
  for (const InterfaceAddress& each : addresses) {
    if (!each.up || each.loopback || each.container || each.link_local) continue;
    const HostPort address{each.host, listen.port};
    ASSIGN_OR_RETURN(const auto numeric, Resolve(address));
    UniqueFd for_a_moment;
    const int refused = TryToListen(*numeric, &for_a_moment);
    if (refused == EADDRINUSE) return Taken(address);
    if (refused == 0) usable->push_back(address);
  }
  return Ok();
}

}  // namespace

Result<std::vector<HostPort>> FindListenAddresses(const HostPort& listen) {
  ASSIGN_OR_RETURN(const auto addresses, Resolve(listen));
  std::vector<HostPort> usable;
  int why_not = EADDRNOTAVAIL;
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    UniqueFd for_a_moment;  // as gRPC will, which tells nobody why it couldn't
    const int refused = TryToListen(*address, &for_a_moment);
    if (refused == EADDRINUSE) return Taken(listen);
    if (refused != 0) {
      why_not = refused;
      continue;
    }
    char text[NI_MAXHOST] = {};
    if (getnameinfo(address->ai_addr, address->ai_addrlen, text, sizeof text, nullptr, 0,
                    NI_NUMERICHOST) != 0)
      continue;
    if (listen.port == 0 && !usable.empty()) break;
    usable.push_back({text, listen.port});
  }
  if (!usable.empty() && listen.port != 0) RETURN_IF_ERROR(AddAddressesOfOthers(listen, &usable));
  if (!usable.empty()) return usable;
  if (why_not == EADDRNOTAVAIL || why_not == EAFNOSUPPORT)
    return NotFound("{} is none of this host's addresses", listen.host);
  return IoError("cannot listen on {}: {}", listen.ToString(), ErrnoText(why_not));
}

Result<Listening> ListenOn(const HostPort& address) {
  ASSIGN_OR_RETURN(const auto addresses, Resolve(address));
  Listening listening;
  const int refused = TryToListen(*addresses, &listening.fd);
  if (refused == EADDRINUSE) return Taken(address);
  if (refused != 0)
    return IoError("cannot listen on {}: {}", address.ToString(), ErrnoText(refused));
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (getsockname(listening.fd.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0)
    return IoError("the port that {} got isn't known: {}", address.ToString(), ErrnoText(errno));
  listening.port =
      ntohs(bound.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(bound).sin_port
                                       : reinterpret_cast<sockaddr_in6&>(bound).sin6_port);
  return listening;
}

}  // namespace memfabric::store
