#include "transport/tcp/address_trouble.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/addresses.h"
#include "base/fd.h"
#include "base/retry.h"

namespace memfabric::transport::tcp {
namespace {

constexpr std::string_view kWayOut =
    "say there which one other hosts reach, with nic (set_nic), or name the store by it";

// Whether the kernel knows a way; nothing is sent.
Status Route(const HostPort& address) {
  const SocketAddress target = ToSocketAddress(address);
  if (target.size_bytes == 0) return NotFound("its interface is none of this host's");
  UniqueFd probe(::socket(target.get()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe ||
      RetryOnSignal([&] { return ::connect(probe.get(), target.get(), target.size_bytes); }) == 0)
    return Ok();
  return NotFound("{}", ErrnoText(errno));
}

}  // namespace

std::string AddressTrouble(const HostPort& address) {
  const std::string& host = address.host;
  if (IsLoopbackHost(host))
    return fmt::format("; {} is a loopback address, which nobody reaches from another host: {}",
                       host, kWayOut);
  const auto own = InterfaceAddresses();
  if (!own.ok()) return "";
  const auto bytes = AddressBytes(host);
  auto same = std::ranges::find_if(
      *own, [&](const auto& each) { return AddressBytes(each.host) == bytes; });
  if (same != own->end())
    return fmt::format(
        "; {} is also an address of this host ({}), so the way to another host's doesn't leave "
        "this one: {}",
        host, same->interface, kWayOut);
  auto family = [&](const auto& each) {
    return !each.loopback && AddressBytes(each.host).size() == bytes.size();
  };
  if (std::ranges::none_of(*own, family))
    return fmt::format("; {} is an IPv{} address, and this host has none: {}", host,
                       bytes.size() == 4 ? 4 : 6, kWayOut);
  if (Status route = Route(address); !route.ok())
    return fmt::format("; this host knows no way to {} ({}): {}", host, route.message(), kWayOut);
  if (bytes.size() == 4 && bytes[0] == 172 && bytes[1] == 17)
    return fmt::format("; {} is in the network that docker gives to its bridge on every host: {}",
                       host, kWayOut);
  return "";
}

}  // namespace memfabric::transport::tcp
