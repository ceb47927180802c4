#include "transport/tcp/byte_stream.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/retry.h"

namespace memfabric::transport::tcp {
namespace {

constexpr int kUserTimeoutMs = 2000;  // for data that the other host doesn't acknowledge
constexpr int kKeepAliveSeconds = 1;
// Of the bounce buffer.
constexpr std::size_t kReadOffset = BounceBuffer::kBytes - ByteStream::kBounceBytes;
constexpr std::size_t kWriteOffset = kReadOffset + ByteStream::kRecordBytes;

void SetOption(int socket, int level, int name, int value) {
  // Each only betters what works without it.
  (void)::setsockopt(socket, level, name, &value, sizeof value);
}

void TuneConnected(int socket) {
  SetOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
  SetOption(socket, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveSeconds);
  SetOption(socket, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveSeconds);
  SetOption(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
}

ByteStream::Moved Outcome(ssize_t moved, int error) {
  if (moved > 0) return {ByteStream::State::kMoved, static_cast<std::size_t>(moved), Ok()};
  if (moved == 0) return {ByteStream::State::kEnded, 0, Ok()};
  if (error == EAGAIN) return {};
  if (error == EFAULT) return {ByteStream::State::kFault, 0, Ok()};
  if (error == EPIPE || error == ECONNRESET) return {ByteStream::State::kEnded, 0, Ok()};
  return {ByteStream::State::kEnded, 0, Disconnected("{}", ErrnoText(error))};
}

}  // namespace

Result<std::unique_ptr<ByteStream>> ByteStream::Open(const Tls& tls, UniqueFd socket,
                                                     bool connector, const Tls::Identity& identity,
                                                     const BounceBuffer& bounce) {
  auto stream = std::make_unique<ByteStream>(std::move(socket), connector, identity, bounce);
  ASSIGN_OR_RETURN(stream->ssl_, tls.Begin(stream->fd(), connector, stream->identity_));
  return stream;
}

Result<ByteStream::Need> ByteStream::Handshake() {
  if (ssl_ == nullptr) return Need::kNothing;
  if (connecting_) {
    int error = 0;
    socklen_t size = sizeof error;
    (void)::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return Disconnected("it is gone: {}", ErrnoText(error));
    sockaddr_storage peer;
    socklen_t peer_size = sizeof peer;
    if (::getpeername(fd(), reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0)
      return Need::kWritable;
    connecting_ = false;
  }
  ERR_clear_error();
  int returned = SSL_do_handshake(ssl_.get());
  if (returned == 1) {
    // Without the key there is no session to resume, and without certificates no other way.
    if (SSL_session_reused(ssl_.get()) != 1)
      return InvalidArgument("it shook hands without the key");
    TuneConnected(fd());
    if (!identity_.encrypt) ssl_.reset();
    return Need::kNothing;
  }
  switch (SSL_get_error(ssl_.get(), returned)) {
    case SSL_ERROR_WANT_READ: return Need::kReadable;
    case SSL_ERROR_WANT_WRITE: return Need::kWritable;
    case SSL_ERROR_SSL: {
      std::string text = TlsErrorText();
      if (connector_)
        return Disconnected("{} isn't there, or no longer: the key of its address isn't taken ({})",
                            whose(), text);
      // No stranger: it has read the directory before that member left.
      if (identity_.absent) return Disconnected("it looks for a member that isn't here");
      return InvalidArgument("it doesn't have this member's key, or speaks no TLS 1.3 ({})", text);
    }
    default:
      ERR_clear_error();
      if (connector_) return Need::kAnotherTry;
      // No stranger, as a rule: of two members that dial each other at once one drops its dial.
      return Disconnected("it closed the connection during the handshake");
  }
}

ByteStream::Moved ByteStream::Read(std::span<const iovec> parts, std::size_t unknown) {
  if (ssl_ != nullptr) return ReadTls(parts, unknown);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  ssize_t got = RetryOnSignal([&] { return ::recvmsg(fd(), &message, MSG_DONTWAIT); });
  return Outcome(got, errno);
}

ByteStream::Moved ByteStream::Write(std::span<const iovec> parts, std::size_t known) {
  if (ssl_ != nullptr) return WriteTls(parts, known);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  ssize_t sent =
      RetryOnSignal([&] { return ::sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL); });
  return Outcome(sent, errno);
}

ByteStream::Moved ByteStream::TlsProblem(int returned) {
  switch (SSL_get_error(ssl_.get(), returned)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return {};
    case SSL_ERROR_ZERO_RETURN: return {State::kEnded, 0, Ok()};
    case SSL_ERROR_SSL:
      return {State::kEnded, 0, InvalidArgument("a broken TLS record ({})", TlsErrorText())};
    default: return Outcome(-1, errno == EAGAIN || errno == 0 ? ECONNRESET : errno);
  }
}

ByteStream::Moved ByteStream::ReadTls(std::span<const iovec> parts, std::size_t unknown) {
  std::lock_guard lock(tls_mutex_);
  Moved moved;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    auto* part = static_cast<std::byte*>(parts[i].iov_base);
    for (std::size_t done = 0; done < parts[i].iov_len;) {
      // OpenSSL writes by plain instructions.
      std::byte* to = i < unknown ? bounce_.data() + kReadOffset : part + done;
      const std::size_t room =
          i < unknown ? std::min(parts[i].iov_len - done, kRecordBytes) : parts[i].iov_len - done;
      std::size_t got = 0;
      ERR_clear_error();
      int returned = SSL_read_ex(ssl_.get(), to, room, &got);
      // the next Read finds the same problem
      if (returned != 1) return moved.bytes > 0 ? moved : TlsProblem(returned);
      moved.state = State::kMoved;
      moved.bytes += got;
      const iovec place{part + done, got};
      if (i < unknown && bounce_.Store(kReadOffset, {&place, 1}) != got) {
        moved.state = State::kFault;
        return moved;
      }
      done += got;
    }
  }
  return moved;
}

// One record for many small parts; 0: one of them can't be read.
std::size_t ByteStream::GatherRecord(std::span<const iovec> parts, std::size_t known) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < parts.size() && size < kRecordBytes; ++i) {
    const std::size_t wanted = std::min(parts[i].iov_len, kRecordBytes - size);
    if (i < known) {
      std::memcpy(bounce_.data() + kWriteOffset + size, parts[i].iov_base, wanted);
    } else if (bounce_.Load(kWriteOffset + size, parts[i].iov_base, wanted) < wanted) {
      return 0;
    }
    size += wanted;
  }
  return size;
}

ByteStream::Moved ByteStream::WriteTls(std::span<const iovec> parts, std::size_t known) {
  std::lock_guard lock(tls_mutex_);
  const void* bytes = parts[0].iov_base;
  std::size_t size = parts[0].iov_len;
  const bool gathers = held_ > 0 || known == 0 || size < kRecordBytes;
  if (gathers) {
    // OpenSSL wants to see again what it has taken; the kernel's TLS even reads it again.
    if (held_ == 0) held_ = GatherRecord(parts, known);
    if (held_ == 0) return {State::kFault, 0, Ok()};
    bytes = bounce_.data() + kWriteOffset;
    size = held_;
  }
  std::size_t sent = 0;
  ERR_clear_error();
  int returned = SSL_write_ex(ssl_.get(), bytes, size, &sent);
  if (returned != 1) return TlsProblem(returned);
  held_ = 0;
  return Moved{State::kMoved, sent, Ok()};
}

bool ByteStream::HasReadAhead() {
  if (ssl_ == nullptr) return false;
  std::lock_guard lock(tls_mutex_);
  return SSL_has_pending(ssl_.get()) == 1;
}

std::uint64_t ByteStream::TakenBytes() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_bytes_acked;
}

void ByteStream::Shutdown() { ::shutdown(fd(), SHUT_RDWR); }

}  // namespace memfabric::transport::tcp
