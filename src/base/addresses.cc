#include "base/addresses.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <memory>

#include "base/fd.h"
#include "base/retry.h"

namespace memfabric {
namespace {

constexpr std::array<std::string_view, 7> kContainerInterfaces{
    "docker", "br-", "veth", "virbr", "cni", "flannel", "podman"};

std::string_view WithoutZone(std::string_view host) { return host.substr(0, host.find('%')); }

// 0 when there is no such interface.
unsigned ZoneIndex(std::string_view zone) {
  unsigned number = 0;
  auto [end, error] = std::from_chars(zone.data(), zone.data() + zone.size(), number);
  if (error == std::errc() && end == zone.data() + zone.size()) return number;
  return ::if_nametoindex(std::string(zone).c_str());
}

}  // namespace

std::vector<unsigned char> AddressBytes(std::string_view host) {
  std::vector<unsigned char> bytes(16);
  const std::string text(WithoutZone(host));
  if (text.size() == host.size() && ::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) {
    bytes.resize(4);
  } else if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) != 1) {
    bytes.clear();
  }
  return bytes;
}

bool IsNumericHost(std::string_view host) { return !AddressBytes(host).empty(); }

bool IsAnyHost(std::string_view host) {
  const auto bytes = AddressBytes(host);
  return !bytes.empty() && std::ranges::all_of(bytes, [](unsigned char byte) { return byte == 0; });
}

bool IsLoopbackHost(std::string_view host) {
  const auto bytes = AddressBytes(host);
  if (bytes.size() == 4) return bytes[0] == 127;
  if (bytes.empty()) return false;
  in6_addr address;
  std::ranges::copy(bytes, address.s6_addr);
  return IN6_IS_ADDR_LOOPBACK(&address) || (IN6_IS_ADDR_V4MAPPED(&address) && bytes[12] == 127);
}

bool IsLinkLocalHost(std::string_view host) {
  const auto bytes = AddressBytes(host);
  return bytes.size() == 16 && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

bool NamesLoopback(std::string_view host) {
  if (IsNumericHost(host)) return IsLoopbackHost(host);
  std::string name(host);
  if (name.ends_with('.')) name.pop_back();
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name == "localhost" || name.ends_with(".localhost") || name == "localhost.localdomain" ||
         name == "ip6-localhost" || name == "ip6-loopback" || name == "localhost4" ||
         name == "localhost6";
}

SocketAddress ToSocketAddress(const HostPort& address) {
  SocketAddress result;
  const auto bytes = AddressBytes(address.host);
  if (bytes.size() == 4) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    std::ranges::copy(bytes, reinterpret_cast<unsigned char*>(&v4->sin_addr));
    result.size_bytes = sizeof *v4;
  } else if (bytes.size() == 16) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
    if (std::size_t percent = address.host.find('%'); percent != std::string::npos) {
      v6->sin6_scope_id = ZoneIndex(std::string_view(address.host).substr(percent + 1));
      if (v6->sin6_scope_id == 0) return result;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    std::ranges::copy(bytes, v6->sin6_addr.s6_addr);
    result.size_bytes = sizeof *v6;
  }
  return result;
}

HostPort FromSocketAddress(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  HostPort result;
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    ::inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
    result.host = text.data();
    result.port = ntohs(v4->sin_port);
  } else if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    result.host = text.data();
    result.port = ntohs(v6->sin6_port);
    std::array<char, IF_NAMESIZE> zone{};
    if (v6->sin6_scope_id == 0) return result;
    const bool named = ::if_indextoname(v6->sin6_scope_id, zone.data()) != nullptr;
    result.host += '%' + (named ? std::string(zone.data()) : std::to_string(v6->sin6_scope_id));
  }
  return result;
}

Result<std::vector<InterfaceAddress>> InterfaceAddresses() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0)
    return IoError("can't list this machine's addresses: {}", ErrnoText(errno));
  std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(first, ::freeifaddrs);
  std::vector<InterfaceAddress> addresses;
  for (const ifaddrs* each = first; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr) continue;
    InterfaceAddress address;
    address.interface = each->ifa_name;
    address.host = FromSocketAddress(each->ifa_addr).host;
    if (address.host.empty()) continue;
    address.up = (each->ifa_flags & IFF_UP) != 0;
    address.loopback = (each->ifa_flags & IFF_LOOPBACK) != 0;
    address.link_local = IsLinkLocalHost(address.host);
    address.container = std::ranges::any_of(kContainerInterfaces, [&](std::string_view prefix) {
      return address.interface.starts_with(prefix);
    });
    addresses.push_back(std::move(address));
  }
  return addresses;
}

bool LacksPort(int error, const SocketAddress& target) {
  if (error != EADDRNOTAVAIL) return false;
  // The same is said where there is no local address to connect from, and then of UDP, too.
  UniqueFd probe(::socket(target.get()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return probe && RetryOnSignal(
                      [&] { return ::connect(probe.get(), target.get(), target.size_bytes); }) == 0;
}

std::string NoPortText() {
  std::string range, from, to;
  if (std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range"); file >> from >> to)
    range = fmt::format(" ({} {})", from, to);
  return fmt::format(
      "no local port is free to connect from ({}): all of net.ipv4.ip_local_port_range{} are in "
      "use, many by connections that "
      "ended a moment ago, as a rule; widen that range, or find out who opens so many (ss -tan)",
      ErrnoText(EADDRNOTAVAIL), range);
}

std::string ListText(const std::vector<InterfaceAddress>& addresses) {
  std::string text;
  for (const InterfaceAddress& address : addresses)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", address.interface, address.host);
  return text.empty() ? "none" : text;
}

}  // namespace memfabric
