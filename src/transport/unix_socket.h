// transport/unix_socket.h: Unix sockets in the abstract namespace, between processes of one host.
// Every call returns at once. No state; any thread.

#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/allowed_users.h"
#include "base/fd.h"
#include "base/status.h"

namespace memfabric::transport {

// 128 random bits as 32 hexadecimal digits.
std::string RandomHex128();

// A non-blocking, close-on-exec socket of `type` (SOCK_SEQPACKET, SOCK_STREAM) that listens on the
// abstract `name`.
Result<UniqueFd> ListenUnix(int type, std::string_view name, int backlog);

// Disconnected: nobody listens there. InUse: its queue is full, try again. OutOfMemory:
// RLIMIT_NOFILE.
Result<UniqueFd> ConnectUnix(int type, std::string_view name);

struct SocketPeer {
  pid_t pid = 0;  // 0 when it lives in a pid namespace that this process can't see
  uid_t uid = 0;
};
// Who is at the other end of a connected socket; for the end that connected, who listens.
Result<SocketPeer> PeerOf(int socket);
// Unsupported: it is none of `users`; names both.
Result<SocketPeer> TrustedPeer(int socket, const AllowedUsers& users);

// One message with `files` (SCM_RIGHTS), whole or not at all. InUse: no room now (a full socket, or
// too many files in flight), try again. Disconnected: the other end is gone.
Status SendPacket(int socket, std::span<const std::byte> bytes, std::span<const int> files);

constexpr std::size_t kMaxPacketFiles = 2;

struct Packet {
  enum class State { kNothing, kMessage, kEnded };  // kEnded: the other end closed or died
  State state = State::kNothing;
  Status why;  // of kEnded, when it is known; InvalidArgument: what came is no message of ours
  std::size_t size_bytes = 0;
  bool truncated = false;  // the message was longer than the buffer
  // files came with it that were closed: more than kMaxPacketFiles, or over RLIMIT_NOFILE
  bool files_lost = false;
  std::array<UniqueFd, kMaxPacketFiles> files;
  std::size_t file_count = 0;
};
// The next message of a SOCK_SEQPACKET socket.
Packet ReceivePacket(int socket, std::span<std::byte> buffer);

}  // namespace memfabric::transport
