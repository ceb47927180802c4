#include "transport/tcp/listen.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/descriptor_limit.h"
#include "base/retry.h"

namespace memfabric::transport::tcp {
namespace {

constexpr std::string_view kScheme = "tcp://";
constexpr std::array<std::string_view, 7> kContainerInterfaces{"docker", "br-", "veth", "virbr", "cni", "flannel", "podman"};

bool IsContainerInterface(std::string_view name) {
  return std::any_of(kContainerInterfaces.begin(), kContainerInterfaces.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// 4 or 16 bytes in network order; empty for anything but a numeric address.
std::vector<unsigned char> AddressBytes(const std::string& host) {
  std::vector<unsigned char> bytes(16);
  if (::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1) {
    bytes.resize(4);
  } else if (::inet_pton(AF_INET6, host.c_str(), bytes.data()) != 1) {
    bytes.clear();
  }
  return bytes;
}

bool IsAny(const std::vector<unsigned char>& bytes) {
  return !bytes.empty() && std::all_of(bytes.begin(), bytes.end(), [](unsigned char byte) { return byte == 0; });
}

bool SamePrefix(const std::vector<unsigned char>& a, const std::vector<unsigned char>& b, unsigned bits) {
  if (a.size() != b.size()) return false;
  for (unsigned bit = 0; bit < bits; ++bit) {
    if (((a[bit / 8] ^ b[bit / 8]) & (0x80u >> (bit % 8))) != 0) return false;
  }
  return true;
}

std::string ListText(const std::vector<InterfaceAddress>& addresses) {
  std::string text;
  for (const InterfaceAddress& address : addresses) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", address.interface, address.host);
  }
  return text.empty() ? "none" : text;
}

// The source address of the route to `target`, as the kernel would choose it; nothing is sent.
std::optional<std::string> RouteSource(const sockaddr* target, socklen_t size) {
  UniqueFd probe(::socket(target->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe || RetryOnSignal([&] { return ::connect(probe.get(), target, size); }) != 0) return std::nullopt;
  sockaddr_storage source;
  socklen_t source_size = sizeof source;
  if (::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&source), &source_size) != 0) return std::nullopt;
  return FromSocketAddress(reinterpret_cast<sockaddr*>(&source)).host;
}

std::optional<std::string> RouteSource(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), "9", &hints, &found) != 0) return std::nullopt;
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, ::freeaddrinfo);
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (auto source = RouteSource(each->ai_addr, each->ai_addrlen); source.has_value()) return source;
  }
  return std::nullopt;
}

Result<std::string> Choose(const std::string& near_host, const std::vector<InterfaceAddress>& addresses) {
  if (!near_host.empty() && !IsAny(AddressBytes(near_host))) {
    if (auto source = RouteSource(near_host); source.has_value()) return *source;
  }
  auto usable = [&](const InterfaceAddress& address) {
    return address.up && !address.loopback && !IsContainerInterface(address.interface);
  };
  // Addresses for documentation, which the default route leads to.
  for (const char* far : {"192.0.2.1", "2001:db8::1"}) {
    auto source = RouteSource(far);
    auto found = std::find_if(addresses.begin(), addresses.end(), [&](const auto& each) { return each.host == source; });
    if (found != addresses.end() && usable(*found)) return found->host;
  }
  auto found = std::find_if(addresses.begin(), addresses.end(), usable);
  if (found == addresses.end())
    found = std::find_if(addresses.begin(), addresses.end(), [](const auto& each) { return each.up; });
  if (found == addresses.end()) return InvalidArgument("no interface of this machine that is up has an address");
  return found->host;
}

Result<HostPort> OfSubnet(std::string_view nic, const std::vector<InterfaceAddress>& addresses, const std::string& near_host) {
  std::string_view text = nic.substr(kScheme.size());
  unsigned bits = 0;
  const std::size_t slash = text.find('/');
  std::string without(text);
  if (slash != std::string_view::npos) {
    const std::size_t colon = text.find(':', slash);
    std::string_view mask = text.substr(slash + 1, colon == std::string_view::npos ? colon : colon - slash - 1);
    auto [end, error] = std::from_chars(mask.data(), mask.data() + mask.size(), bits);
    if (mask.empty() || error != std::errc() || end != mask.data() + mask.size()) {
      return InvalidArgument("nic \"{}\": \"{}\" is no number of mask bits", nic, mask);
    }
    without.erase(slash, 1 + mask.size());
  }
  auto address = ParseHostPort(without, true);
  if (!address.ok()) return address.status().WithContext(fmt::format("nic \"{}\"", nic));
  const auto wanted = AddressBytes(address->host);
  if (wanted.empty()) return InvalidArgument("nic \"{}\": \"{}\" is no numeric address", nic, address->host);
  if (bits > 8 * wanted.size()) return InvalidArgument("nic \"{}\": {} mask bits, {} at most", nic, bits, 8 * wanted.size());
  if (IsAny(wanted)) {
    ASSIGN_OR_RETURN(address->host, Choose(near_host, addresses));
    return address;
  }
  if (slash == std::string_view::npos) bits = static_cast<unsigned>(8 * wanted.size());
  for (const InterfaceAddress& each : addresses) {
    if (!each.up || !SamePrefix(AddressBytes(each.host), wanted, bits)) continue;
    address->host = each.host;
    return address;
  }
  return InvalidArgument("nic \"{}\": no interface of this machine that is up has {} {}; there are: {}", nic,
                         slash == std::string_view::npos ? "the address" : "an address in", text, ListText(addresses));
}

Result<HostPort> OfInterface(const std::string& nic, const std::vector<InterfaceAddress>& addresses) {
  if (::if_nametoindex(nic.c_str()) == 0) {
    return InvalidArgument("nic \"{}\": there is no such interface; there are: {}", nic, ListText(addresses));
  }
  auto found = std::find_if(addresses.begin(), addresses.end(), [&](const auto& each) { return each.interface == nic; });
  if (found == addresses.end()) return InvalidArgument("nic \"{}\": the interface has no address", nic);
  if (!found->up) return InvalidArgument("nic \"{}\": the interface is down", nic);
  return HostPort{found->host, 0};
}

// " (pid 4711, nginx)": who listens at `port`, as far as this process may look; else "".
std::string OwnerText(std::uint16_t port) {
  std::string socket;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream lines(table);
    std::string line;
    std::getline(lines, line);  // headings
    while (std::getline(lines, line)) {
      // sl local:port remote:port state tx:rx tr:when retransmits uid timeout inode
      std::istringstream in(line);
      std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
      in >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
      if (state == "0A" && local.ends_with(fmt::format(":{:04X}", port))) socket = "socket:[" + inode + "]";
    }
  }
  if (socket.empty()) return "";
  std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  while (const dirent* process = processes == nullptr ? nullptr : ::readdir(processes.get())) {
    if (process->d_name[0] < '0' || process->d_name[0] > '9') continue;
    const std::string folder = fmt::format("/proc/{}/", process->d_name);
    std::unique_ptr<DIR, int (*)(DIR*)> files(::opendir((folder + "fd").c_str()), ::closedir);
    while (const dirent* file = files == nullptr ? nullptr : ::readdir(files.get())) {
      std::array<char, 64> target{};
      const std::string link = folder + "fd/" + file->d_name;
      if (::readlink(link.c_str(), target.data(), target.size() - 1) <= 0 || socket != target.data()) continue;
      std::ifstream name(folder + "comm");
      std::string command;
      std::getline(name, command);
      return fmt::format(" (pid {}, {})", process->d_name, command);
    }
  }
  return "";
}

}  // namespace

SocketAddress ToSocketAddress(const HostPort& address) {
  SocketAddress result;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
  if (::inet_pton(AF_INET, address.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    result.size_bytes = sizeof *v4;
  } else if (::inet_pton(AF_INET6, address.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
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
    result.port = ntohs(v4->sin_port);
  } else if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    result.port = ntohs(v6->sin6_port);
  }
  result.host = text.data();
  return result;
}

Result<std::vector<InterfaceAddress>> InterfaceAddresses() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return IoError("can't list this machine's addresses: {}", ErrnoText(errno));
  std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(first, ::freeifaddrs);
  std::vector<InterfaceAddress> addresses;
  for (const ifaddrs* each = first; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr) continue;
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(each->ifa_addr);
    // Link-local addresses mean something only together with an interface of each host.
    if (each->ifa_addr->sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) continue;
    std::string host = FromSocketAddress(each->ifa_addr).host;
    if (host.empty()) continue;
    addresses.push_back(
        {each->ifa_name, std::move(host), (each->ifa_flags & IFF_UP) != 0, (each->ifa_flags & IFF_LOOPBACK) != 0});
  }
  return addresses;
}

Result<HostPort> ChooseAddress(const NetworkOptions& options) {
  ASSIGN_OR_RETURN(auto addresses, InterfaceAddresses());
  if (options.nic.starts_with(kScheme)) return OfSubnet(options.nic, addresses, options.near_host);
  if (!options.nic.empty()) return OfInterface(options.nic, addresses);
  ASSIGN_OR_RETURN(std::string host, Choose(options.near_host, addresses));
  return HostPort{std::move(host), 0};
}

Result<Listener> Listen(const HostPort& address) {
  const SocketAddress wanted = ToSocketAddress(address);
  UniqueFd socket(::socket(wanted.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return OutOfMemory("no socket to listen with: {}; {}", ErrnoText(errno), DescriptorLimitText());
  const int on = 1;
  // A port that an earlier life of this rank had is free, though the kernel still remembers its connections.
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), wanted.get(), wanted.size_bytes) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) {
    const int error = errno;
    if (error == EADDRINUSE) {
      return InUse("port {} is taken{}: give another one, or 0 for any that is free", address.ToString(),
                   OwnerText(address.port));
    }
    return IoError("can't listen at {}: {}", address.ToString(), ErrnoText(error));
  }
  sockaddr_storage got;
  socklen_t size = sizeof got;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&got), &size) != 0) {
    return IoError("can't tell the port of a listening socket: {}", ErrnoText(errno));
  }
  return Listener{std::move(socket), FromSocketAddress(reinterpret_cast<sockaddr*>(&got))};
}

}  // namespace memfabric::transport::tcp
