#include "transport/unix_socket.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/descriptor_limit.h"
#include "base/log.h"
#include "base/retry.h"

namespace memfabric::transport {
namespace {

struct Address {
  sockaddr_un sun{};
  socklen_t size = 0;
};

Result<Address> AbstractAddress(std::string_view name) {
  Address address;
  if (name.empty() || name.size() + 1 > sizeof address.sun.sun_path) {
    return InvalidArgument("a local socket's name has 1 to {} bytes, this one {}",
                           sizeof address.sun.sun_path - 1, name.size());
  }
  address.sun.sun_family = AF_UNIX;
  std::memcpy(address.sun.sun_path + 1, name.data(), name.size());
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

Result<UniqueFd> MakeSocket(int type) {
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket) return socket;
  return OutOfMemory("no local socket to be had: {}; {}", ErrnoText(errno), DescriptorLimitText());
}

}  // namespace

std::string RandomHex128() {
  std::array<unsigned char, 16> bytes;
  // Up to 256 bytes come whole once the pool is initialised, which it is long before we run.
  CHECK(RetryOnSignal([&] { return ::getrandom(bytes.data(), bytes.size(), 0); }) ==
        static_cast<ssize_t>(bytes.size()));
  std::string text;
  for (unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

Result<UniqueFd> ListenUnix(int type, std::string_view name, int backlog) {
  ASSIGN_OR_RETURN(Address address, AbstractAddress(name));
  ASSIGN_OR_RETURN(UniqueFd socket, MakeSocket(type));
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address.sun), address.size) != 0) {
    if (errno == EADDRINUSE) return InUse("the local socket @{} is bound already", name);
    return IoError("can't bind the local socket @{}: {}", name, ErrnoText(errno));
  }
  if (::listen(socket.get(), backlog) != 0)
    return IoError("can't listen on @{}: {}", name, ErrnoText(errno));
  return socket;
}

Result<UniqueFd> ConnectUnix(int type, std::string_view name) {
  ASSIGN_OR_RETURN(Address address, AbstractAddress(name));
  ASSIGN_OR_RETURN(UniqueFd socket, MakeSocket(type));
  // A local socket is connected at once or not at all, so an interrupted call is simply made again.
  const auto* to = reinterpret_cast<const sockaddr*>(&address.sun);
  if (RetryOnSignal([&] { return ::connect(socket.get(), to, address.size); }) == 0) return socket;
  if (errno == EAGAIN) return InUse("the queue of the local socket @{} is full", name);
  if (errno == ECONNREFUSED) return Disconnected("nobody serves the local socket @{}", name);
  return IoError("can't connect to the local socket @{}: {}", name, ErrnoText(errno));
}

Result<SocketPeer> PeerOf(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return IoError("can't tell who is at the other end: {}", ErrnoText(errno));
  }
  return SocketPeer{credentials.pid, credentials.uid};
}

Result<SocketPeer> TrustedPeer(int socket, const AllowedUsers& users) {
  ASSIGN_OR_RETURN(SocketPeer peer, PeerOf(socket));
  if (users.Has(peer.uid)) return peer;
  return Unsupported(
      "the process of user {} (pid {}) shares no memory with that of user {} (pid {}), which lets "
      "{} in: MEMFABRIC_ALLOW_UIDS "
      "on "
      "both lists others",
      peer.uid, peer.pid, ::geteuid(), ::getpid(), users.ToString());
}

Status SendPacket(int socket, std::span<const std::byte> bytes, std::span<const int> files) {
  CHECK(files.size() <= kMaxPacketFiles);
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxPacketFiles * sizeof(int))] = {};
  if (!files.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(files.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(files.size_bytes());
    std::memcpy(CMSG_DATA(header), files.data(), files.size_bytes());
  }
  if (RetryOnSignal([&] { return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT); }) >= 0)
    return Ok();
  switch (errno) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
    case ETOOMANYREFS: return InUse("no room to send: {}", ErrnoText(errno));
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN: return Disconnected("the connection has ended");
    default: return IoError("can't send: {}", ErrnoText(errno));
  }
}

Packet ReceivePacket(int socket, std::span<std::byte> buffer) {
  Packet packet;
  iovec part{buffer.data(), buffer.size()};
  // The kernel fills whole ints only; what doesn't fit it closes itself and says MSG_CTRUNC.
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxPacketFiles * sizeof(int))];
  msghdr message{};
  ssize_t got;
  do {
    message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    // ECONNRESET only says that the other end closed without reading everything; what it sent
    // before still waits behind it.
  } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0) {
    packet.state = errno == EAGAIN ? Packet::State::kNothing : Packet::State::kEnded;
    return packet;
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int raw;
      std::memcpy(&raw, CMSG_DATA(header) + i * sizeof(int), sizeof raw);
      UniqueFd file(raw);
      if (packet.file_count < kMaxPacketFiles) {
        packet.files[packet.file_count++] = std::move(file);
      } else {
        packet.files_lost = true;
      }
    }
  }
  packet.state = got == 0 ? Packet::State::kEnded : Packet::State::kMessage;
  packet.size_bytes = static_cast<std::size_t>(got);
  packet.truncated = (message.msg_flags & MSG_TRUNC) != 0;
  packet.files_lost = packet.files_lost || (message.msg_flags & MSG_CTRUNC) != 0;
  return packet;
}

}  // namespace memfabric::transport
