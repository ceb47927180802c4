#include "store/client/probe.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/fd.h"
#include "base/wait.h"

namespace memfabric::store {
namespace {

// The preface of RFC 9113, section 3.4, with an empty SETTINGS frame (6.5).
constexpr std::string_view kHello{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33};
constexpr std::size_t kFrameHeaderBytes = 9;
constexpr unsigned char kSettingsFrame = 4;
constexpr std::size_t kShownBytes = 40;

// Whether `fd` became ready before the deadline.
Result<bool> Await(int fd, short events, Deadline deadline) {
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd entry{fd, events, 0};
    int ready = poll(&entry, 1, static_cast<int>(std::min(left, kInterruptPeriod).count()));
    if (ready > 0) return true;
    if (InterruptRequested()) return Interrupted("interrupted by a signal");
  }
}

std::string Shown(std::string_view bytes) {
  std::string shown;
  for (char c : bytes.substr(0, std::min(bytes.find_first_of("\r\n"), kShownBytes)))
    shown += c >= ' ' && c <= '~' ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return shown;
}

// The first frame of an HTTP/2 server is SETTINGS, on stream 0 (RFC 9113, section 3.4).
Finding Judge(std::string_view bytes) {
  if (bytes.empty()) return {Finding::What::kUnreachable, "it accepts connections and closes them"};
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.size() >= kFrameHeaderBytes && byte(3) == kSettingsFrame && byte(5) == 0 && byte(8) == 0)
    return {Finding::What::kHttp2, "it speaks HTTP/2"};
  if (bytes.size() >= 2 && byte(0) == 0x15 && byte(1) == 0x03) return {Finding::What::kForeign, "it speaks TLS"};
  return {Finding::What::kForeign, fmt::format("it answers '{}'", Shown(bytes))};
}

Finding Unreachable(int error) {
  if (error == ECONNREFUSED) return {Finding::What::kUnreachable, "connection refused"};
  return {Finding::What::kUnreachable, ErrnoText(error)};
}

}  // namespace

Result<Finding> Probe(const HostPort& endpoint, Deadline deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (int error = getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found); error != 0)
    return Finding{Finding::What::kUnreachable, fmt::format("the host name doesn't resolve: {}", gai_strerror(error))};
  std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> address(found, &freeaddrinfo);

  UniqueFd fd(socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Unreachable(errno);
  if (connect(fd.get(), address->ai_addr, address->ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return Unreachable(errno);
    ASSIGN_OR_RETURN(bool connected, Await(fd.get(), POLLOUT, deadline));
    if (!connected) return Finding{Finding::What::kUnreachable, "no answer to the attempt to connect"};
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return Unreachable(error);
  }
  if (send(fd.get(), kHello.data(), kHello.size(), MSG_NOSIGNAL) < 0) return Unreachable(errno);

  std::array<char, 256> buffer;
  std::string bytes;
  while (bytes.size() < kFrameHeaderBytes) {
    ASSIGN_OR_RETURN(bool readable, Await(fd.get(), POLLIN, deadline));
    if (!readable && bytes.empty())
      return Finding{Finding::What::kSilent,
                     "something accepts connections there but does not speak etcd's gRPC, or is stopped"};
    if (!readable) break;
    ssize_t got = recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && bytes.empty()) return Unreachable(errno);
    if (got <= 0) break;
    bytes.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return Judge(bytes);
}

}  // namespace memfabric::store
