#include "base/socket_user.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netdb.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/retry.h"

namespace memfabric {
namespace {

constexpr std::uint32_t kLoopbackInterface = 1;  // the same in every network namespace
constexpr unsigned kListening = 10;              // TCP_LISTEN

// One end of a connection, as the kernel compares it. An IPv4 address within IPv6 counts as IPv4.
struct End {
  int family = AF_UNSPEC;
  std::array<std::uint32_t, 4> address{};  // in network order; IPv4 uses the first
  std::uint16_t port = 0;                  // in network order
  std::uint32_t scope = 0;                 // of a link-local address

  bool operator==(const End&) const = default;
  bool SameAddress(const End& other) const {
    return family == other.family && address == other.address;
  }
};

End EndOf(const sockaddr_storage& from) {
  End end;
  end.family = from.ss_family;
  if (from.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(from);
    end.address[0] = v4.sin_addr.s_addr;
    end.port = v4.sin_port;
    return end;
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(from);
  end.port = v6.sin6_port;
  std::memcpy(end.address.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    end.family = AF_INET;
    end.address = {end.address[3]};
  } else {
    end.scope = v6.sin6_scope_id;
  }
  return end;
}

bool IsLoopback(const End& end) {
  if (end.family == AF_INET) return (ntohl(end.address[0]) >> 24) == 127;
  return std::memcmp(end.address.data(), &in6addr_loopback, sizeof in6addr_loopback) == 0;
}

// Whether packets to that address stay on this host: the kernel then gives it as their source, too.
bool IsOfThisHost(const End& end) {
  if (IsLoopback(end)) return true;
  UniqueFd fd(socket(end.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage there{};
  socklen_t size = sizeof(sockaddr_in6);
  if (end.family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(there);
    v4 = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {end.address[0]}, .sin_zero = {}};
    size = sizeof v4;
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(there);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(9);
    v6.sin6_scope_id = end.scope;
    std::memcpy(&v6.sin6_addr, end.address.data(), sizeof v6.sin6_addr);
  }
  sockaddr_storage source{};
  socklen_t source_size = sizeof source;
  if (!fd || RetryOnSignal([&] {
               return connect(fd.get(), reinterpret_cast<sockaddr*>(&there), size);
             }) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&source), &source_size) != 0)
    return false;
  return EndOf(source).SameAddress(end);
}

struct Found {
  uid_t user = 0;
  bool is_held = false;  // by a process: one that was closed stays a while, without its user
  bool listens = false;
};

// Asks the kernel for one socket (sock_diag(7)). None: it has no such socket, or answers no such
// questions.
std::optional<Found> AskKernel(const End& own, const End& other) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd) return std::nullopt;
  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.request.sdiag_family = static_cast<std::uint8_t>(own.family);
  question.request.sdiag_protocol = IPPROTO_TCP;
  question.request.idiag_states = ~0U;
  auto& id = question.request.id;
  id.idiag_sport = own.port;
  id.idiag_dport = other.port;
  std::memcpy(id.idiag_src, own.address.data(), sizeof id.idiag_src);
  std::memcpy(id.idiag_dst, other.address.data(), sizeof id.idiag_dst);
  // finds sockets that are bound to no interface as well
  id.idiag_if = own.scope != 0 ? own.scope : kLoopbackInterface;
  id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  // the kernel answers within the call that asks
  const timeval patience{.tv_sec = 1, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (RetryOnSignal([&] { return send(fd.get(), &question, sizeof question, 0); }) !=
      sizeof question)
    return std::nullopt;
  alignas(nlmsghdr) std::array<char, 4096> answer{};
  const ssize_t got =
      RetryOnSignal([&] { return recv(fd.get(), answer.data(), answer.size(), 0); });
  const auto* header = reinterpret_cast<const nlmsghdr*>(answer.data());
  if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(inet_diag_msg))) ||
      header->nlmsg_type != SOCK_DIAG_BY_FAMILY)
    return std::nullopt;
  const auto* message = static_cast<const inet_diag_msg*>(NLMSG_DATA(header));
  return Found{.user = message->idiag_uid,
               .is_held = message->idiag_inode != 0,
               .listens = message->idiag_state == kListening};
}

// The same from the list of all sockets, for kernels without sock_diag and sockets that are bound
// to an interface. With `other` null: who listens at `own`, or at its port on all addresses.
std::optional<Found> SearchList(const End& own, const End* other) {
  for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::unique_ptr<FILE, int (*)(FILE*)> list(std::fopen(path, "re"), &std::fclose);
    char line[512];
    if (list == nullptr || std::fgets(line, sizeof line, list.get()) == nullptr) continue;
    while (std::fgets(line, sizeof line, list.get()) != nullptr) {
      char ours[33], theirs[33];
      unsigned our_port = 0, their_port = 0, state = 0, user = 0;
      unsigned long inode = 0;
      if (std::sscanf(line, " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %*s %*s %*s %u %*u %lu", ours,
                      &our_port, theirs, &their_port, &state, &user, &inode) != 7)
        continue;
      auto end = [](const char* hex, unsigned port) {
        sockaddr_storage address{};
        std::array<std::uint32_t, 4> words{};
        const std::size_t count = std::strlen(hex) / 8;
        for (std::size_t i = 0; i < count; ++i) {
          char word[9] = {};
          std::memcpy(word, hex + 8 * i, 8);
          // as it lies in memory
          words[i] = static_cast<std::uint32_t>(std::strtoul(word, nullptr, 16));
        }
        if (count == 1) {
          auto& v4 = reinterpret_cast<sockaddr_in&>(address);
          v4.sin_family = AF_INET;
          v4.sin_addr.s_addr = words[0];
          v4.sin_port = htons(static_cast<std::uint16_t>(port));
        } else {
          auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
          v6.sin6_family = AF_INET6;
          std::memcpy(&v6.sin6_addr, words.data(), sizeof v6.sin6_addr);
          v6.sin6_port = htons(static_cast<std::uint16_t>(port));
        }
        return EndOf(address);
      };
      const End here = end(ours, our_port);
      const bool on_all = here.address == std::array<std::uint32_t, 4>{} && here.port == own.port;
      const bool matches =
          other == nullptr
              ? state == kListening && ((here.SameAddress(own) && here.port == own.port) || on_all)
              : here.SameAddress(own) && here.port == own.port &&
                    end(theirs, their_port).SameAddress(*other) &&
                    end(theirs, their_port).port == other->port;
      if (matches)
        return Found{.user = user, .is_held = inode != 0, .listens = state == kListening};
    }
  }
  return std::nullopt;
}

Result<std::optional<uid_t>> UserOf(const std::optional<Found>& found) {
  if (found.has_value() && found->is_held) return std::optional(found->user);
  return NotFound("the kernel names no user for it ({})",
                  found.has_value() ? "its process has closed it"
                                    : "neither sock_diag nor /proc/net/tcp has it");
}

}  // namespace

Result<std::optional<uid_t>> UserOfPeer(int connected) {
  sockaddr_storage ours{}, theirs{};
  socklen_t our_size = sizeof ours, their_size = sizeof theirs;
  if (getsockname(connected, reinterpret_cast<sockaddr*>(&ours), &our_size) != 0 ||
      getpeername(connected, reinterpret_cast<sockaddr*>(&theirs), &their_size) != 0)
    return NotFound("the connection has ended: {}", ErrnoText(errno));
  const End own = EndOf(theirs), other = EndOf(ours);  // as the peer's socket has them
  auto found = AskKernel(own, other);
  // one that listens there isn't the one that has connected
  if (!found.has_value() || found->listens) {
    if (!IsOfThisHost(own)) return std::optional<uid_t>();
    found = SearchList(own, &other);
  }
  return UserOf(found);
}

Result<std::optional<uid_t>> UserOfListener(const sockaddr_storage& address) {
  const End own = EndOf(address);
  if (!IsOfThisHost(own)) return std::optional<uid_t>();
  // no connection begins and ends at the same address and port, so the kernel names who listens
  End nobody = own;
  auto found = AskKernel(own, nobody);
  return UserOf(found.has_value() && found->listens ? found : SearchList(own, nullptr));
}

Result<std::optional<uid_t>> UserOfListener(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0)
    return std::optional<uid_t>();
  sockaddr_storage address{};
  std::memcpy(&address, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return UserOfListener(address);
}

}  // namespace memfabric
