#include "transport/tcp/listen.h"

#include <dirent.h>
#include <net/if.h>
#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/descriptor_limit.h"
#include "base/log.h"
#include "base/nic.h"
#include "base/retry.h"

namespace memfabric::transport::tcp {
namespace {

constexpr std::uint32_t kSparePorts = 1024;
constexpr std::uint32_t kHighestPort = 65535;

using Addresses = std::vector<InterfaceAddress>;

bool SamePrefix(const std::vector<unsigned char>& a, const std::vector<unsigned char>& b,
                unsigned bits) {
  if (a.size() != b.size()) return false;
  for (unsigned bit = 0; bit < bits; ++bit) {
    if (((a[bit / 8] ^ b[bit / 8]) & (0x80u >> (bit % 8))) != 0) return false;
  }
  return true;
}

// The source address of the route to `target`, as the kernel would choose it; nothing is sent.
std::optional<std::string> RouteSource(const sockaddr* target, socklen_t size) {
  UniqueFd probe(::socket(target->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe || RetryOnSignal([&] { return ::connect(probe.get(), target, size); }) != 0)
    return std::nullopt;
  sockaddr_storage source;
  socklen_t source_size = sizeof source;
  if (::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&source), &source_size) != 0)
    return std::nullopt;
  return FromSocketAddress(reinterpret_cast<sockaddr*>(&source)).host;
}

// The same for a host; loopback only where the host's text says so: a name that its own host's
// /etc/hosts leads to 127.0.1.1 is another address elsewhere.
std::optional<std::string> RouteSource(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), "9", &hints, &found) != 0) return std::nullopt;
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, ::freeaddrinfo);
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    auto source = RouteSource(each->ai_addr, each->ai_addrlen);
    if (source.has_value() && (!IsLoopbackHost(*source) || NamesLoopback(host))) return source;
  }
  return std::nullopt;
}

Result<Choice> Choose(const std::string& near_host, const Addresses& addresses) {
  std::string note;
  if (!near_host.empty() && !IsAnyHost(near_host)) {
    if (auto source = RouteSource(near_host); source.has_value())
      return Choice{{*source, 0},
                    fmt::format("the way to the store at {} begins there", near_host)};
    note = fmt::format("{} leads to loopback or nowhere; ", near_host);
  }
  auto usable = [&](const InterfaceAddress& address) {
    return address.up && !address.loopback && !address.container && !address.link_local;
  };
  // Addresses for documentation, which the default route leads to.
  for (const char* far : {"192.0.2.1", "2001:db8::1"}) {
    auto source = RouteSource(far);
    auto found =
        std::ranges::find_if(addresses, [&](const auto& each) { return each.host == source; });
    if (found != addresses.end() && usable(*found))
      return Choice{{found->host, 0}, note + "the default route begins there"};
  }
  auto found = std::ranges::find_if(addresses, usable);
  if (found != addresses.end())
    return Choice{{found->host, 0}, note + "the first address that other hosts may reach"};
  found = std::ranges::find_if(addresses, [](const auto& each) { return each.up; });
  if (found == addresses.end())
    return NotFound("no interface of this machine that is up has an address");
  return Choice{{found->host, 0}, note + "there is no address that other hosts may reach"};
}

Result<std::string> OfSubnet(const Nic& nic, const Addresses& addresses) {
  const auto wanted = AddressBytes(nic.host);
  const std::size_t percent = nic.host.find('%');
  const std::string_view zone =
      percent == std::string::npos ? "" : std::string_view(nic.host).substr(percent + 1);
  for (const InterfaceAddress& each : addresses) {
    if (each.up && (zone.empty() || each.interface == zone) &&
        SamePrefix(AddressBytes(each.host), wanted, nic.mask_bits))
      return each.host;
  }
  return InvalidArgument(
      "nic \"{}\": no interface of this machine that is up has {} {}; there are: {}", nic.text,
      nic.mask_bits == 8 * wanted.size() ? "the address" : "an address in", nic.host,
      ListText(addresses));
}

Result<std::string> OfInterface(const Nic& nic, const Addresses& addresses) {
  if (::if_nametoindex(nic.interface.c_str()) == 0)
    return InvalidArgument("nic \"{}\": there is no such interface; there are: {}", nic.interface,
                           ListText(addresses));
  const InterfaceAddress* best = nullptr;  // a link-local one only if there is no other
  for (const InterfaceAddress& each : addresses)
    if (each.interface == nic.interface &&
        (best == nullptr || (best->link_local && !each.link_local)))
      best = &each;
  if (best == nullptr)
    return InvalidArgument("nic \"{}\": the interface has no address", nic.interface);
  if (!best->up) return InvalidArgument("nic \"{}\": the interface is down", nic.interface);
  return best->host;
}

Result<Choice> OfNic(const Nic& nic, const std::string& near_host, const Addresses& addresses) {
  Choice choice;
  if (nic.interface.empty() && nic.host.empty()) {
    ASSIGN_OR_RETURN(choice, Choose(near_host, addresses));
  } else {
    ASSIGN_OR_RETURN(choice.address.host, nic.interface.empty() ? OfSubnet(nic, addresses)
                                                                : OfInterface(nic, addresses));
    choice.why = fmt::format("nic \"{}\"", nic.text);
  }
  choice.address.port = nic.port;
  return choice;
}

struct Owner {
  pid_t pid = 0;  // 0: not known
  std::string command;
};

// Whether `process` (a folder of /proc) has the file, as the link text of its descriptor says.
bool HasFile(const std::string& process, const std::string& file) {
  std::unique_ptr<DIR, int (*)(DIR*)> files(::opendir((process + "/fd").c_str()), ::closedir);
  while (const dirent* each = files == nullptr ? nullptr : ::readdir(files.get())) {
    std::array<char, 64> target{};
    const std::string link = process + "/fd/" + each->d_name;
    if (::readlink(link.c_str(), target.data(), target.size() - 1) > 0 && file == target.data())
      return true;
  }
  return false;
}

// Who listens at `port`, as far as this process may look.
Owner OwnerOf(std::uint32_t port) {
  std::string socket;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream lines(table);
    std::string line;
    std::getline(lines, line);  // headings
    while (std::getline(lines, line)) {
      // sl local:port remote:port state tx:rx tr:when retransmits uid timeout inode
      std::istringstream in(line);
      std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
      in >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >>
          inode;
      if (state == "0A" && local.ends_with(fmt::format(":{:04X}", port)))
        socket = "socket:[" + inode + "]";
    }
  }
  if (socket.empty()) return {};
  if (HasFile("/proc/self", socket)) return {::getpid(), "this process"};
  std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  while (const dirent* process = processes == nullptr ? nullptr : ::readdir(processes.get())) {
    pid_t pid = 0;
    const std::string_view name = process->d_name;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr !=
        name.data() + name.size())
      continue;
    const std::string folder = fmt::format("/proc/{}", name);
    if (!HasFile(folder, socket)) continue;
    Owner owner{pid, ""};
    std::ifstream command(folder + "/comm");
    std::getline(command, owner.command);
    return owner;
  }
  return {};
}

// " (pid 4711, nginx)" or "".
std::string OwnerText(const Owner& owner) {
  return owner.pid == 0 ? "" : fmt::format(" (pid {}, {})", owner.pid, owner.command);
}

Result<ListeningSocket> TryToListen(const HostPort& address) {
  const SocketAddress wanted = ToSocketAddress(address);
  if (wanted.size_bytes == 0)
    return InvalidArgument("{} is no address of this machine", address.host);
  UniqueFd socket(
      ::socket(wanted.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket)
    return OutOfMemory("no socket to listen with: {}; {}", ErrnoText(errno), DescriptorLimitText());
  const int on = 1;
  // A port that an earlier life of this rank had is free, though the kernel still remembers its
  // connections.
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), wanted.get(), wanted.size_bytes) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    const int error = errno;
    if (error == EADDRINUSE) return InUse("port {} is taken", address.ToString());
    if (error == EACCES)
      return InUse("port {} is kept from this user: {}", address.ToString(), ErrnoText(error));
    return IoError("can't listen at {}: {}", address.ToString(), ErrnoText(error));
  }
  sockaddr_storage got;
  socklen_t size = sizeof got;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&got), &size) != 0) {
    return IoError("can't tell the port of a listening socket: {}", ErrnoText(errno));
  }
  return ListeningSocket{std::move(socket), FromSocketAddress(reinterpret_cast<sockaddr*>(&got))};
}

}  // namespace

Result<Choice> ChooseAddress(const NetworkOptions& options) {
  ASSIGN_OR_RETURN(const auto nics, ParseNics(options.nic));
  ASSIGN_OR_RETURN(const auto addresses, InterfaceAddresses());
  if (nics.empty()) return Choose(options.near_host, addresses);
  std::string refusals;
  for (const Nic& nic : nics) {
    auto choice = OfNic(nic, options.near_host, addresses);
    if (nics.size() == 1 || (!choice.ok() && !IsInvalidArgument(choice.status()))) return choice;
    if (choice.ok()) {
      choice->why += fmt::format(", the first of \"{}\" that there is", options.nic);
      return choice;
    }
    refusals += (refusals.empty() ? "" : "; ") + choice.status().message();
  }
  return InvalidArgument("nothing of \"{}\" can be used: {}", options.nic, refusals);
}

Result<ListeningSocket> Listen(const HostPort& address) {
  auto listener = TryToListen(address);
  if (!IsInUse(listener.status())) return listener;
  return InUse("{}{}: give another one, or 0 for any that is free", listener.status().message(),
               OwnerText(OwnerOf(address.port)));
}

Result<ListeningSocket> ListenInRange(const HostPort& address, const PortRange& range,
                                      std::span<const std::uint16_t> ours) {
  auto one_of_ours = [&](std::uint32_t first,
                         std::uint32_t last) -> std::optional<ListeningSocket> {
    auto found = std::ranges::find_if(
        ours, [&](std::uint32_t port) { return first <= port && port <= last; });
    if (found == ours.end()) return std::nullopt;
    return ListeningSocket{UniqueFd(), {address.host, *found}};
  };
  if (address.port == 0) {
    auto any = one_of_ours(0, kHighestPort);
    return any.has_value() ? *std::move(any) : Listen(address);
  }
  const std::uint32_t own_port = address.port + range.own;
  const std::uint32_t first_spare = address.port + range.spare;
  if (auto known = one_of_ours(own_port, own_port); known.has_value()) return *std::move(known);
  auto spare_known = one_of_ours(first_spare, first_spare + kSparePorts);
  if (spare_known.has_value() && !range.says_which) return *std::move(spare_known);
  auto at = [&](std::uint32_t offset) -> Result<ListeningSocket> {
    const std::uint32_t port = address.port + offset;
    if (port > kHighestPort)
      return InUse("port {} + {} is beyond {}", address.port, offset, kHighestPort);
    return TryToListen({address.host, static_cast<std::uint16_t>(port)});
  };
  auto own = at(range.own);
  if (!IsInUse(own.status())) return own;
  if (spare_known.has_value()) return *std::move(spare_known);
  for (std::uint32_t spare = range.spare;
       spare <= range.spare + kSparePorts && address.port + spare <= kHighestPort; ++spare) {
    auto other = at(spare);
    if (IsInUse(other.status())) continue;
    if (!other.ok() || !range.says_which) return other;
    const Owner owner = OwnerOf(own_port);
    // That this process itself has the port, for members who encrypt otherwise, is as it should be.
    if (owner.pid != ::getpid())
      LOG(kWarn, "{}{}; listening at {} instead, which a firewall may not let through",
          own.status().message(), OwnerText(owner), other->address.ToString());
    return other;
  }
  return InUse("{}, and so is every one that may be used instead, from {} on",
               own.status().message(), first_spare);
}

}  // namespace memfabric::transport::tcp
