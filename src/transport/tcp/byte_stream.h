// transport/tcp/byte_stream.h: the bytes of one TCP connection: first a TLS handshake, then plain
// or
// inside TLS. Never blocks.
//
// Owned by its connection. Threads: Read from one at a time, Write from one at a time, both at
// once; Handshake alone.

#pragma once

#include <sys/uio.h>

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "memory/bounce.h"
#include "transport/tcp/tls.h"

namespace memfabric::transport::tcp {

class ByteStream {
 public:
  // kFault: the next byte's place can't be touched. Of a Read's `bytes` the last were taken off the
  // stream and lost.
  enum class State { kMoved, kBlocked, kEnded, kFault };
  struct Moved {
    State state = State::kBlocked;
    std::size_t bytes = 0;
    Status why{};  // of kEnded; Ok: the other end closed it. InvalidArgument: what came is no TLS
  };
  enum class Need { kNothing, kReadable, kWritable, kAnotherTry };

  // `connector`: the socket is connecting, or connected.
  // `bounce`: kBounceBytes at its end are this stream's.
  static Result<std::unique_ptr<ByteStream>> Open(const Tls& tls, UniqueFd socket, bool connector,
                                                  const Tls::Identity& identity,
                                                  const BounceBuffer& bounce);

  // Goes on with connecting and the handshake; what it needs to go on again, kNothing once it is
  // done. kAnotherTry: the listener closed it without a reason. An error is final.
  // Disconnected: nobody is there, or it closed. InvalidArgument: the keys differ, or it talks
  // something else.
  Result<Need> Handshake();

  // At least one byte of `parts`, or why not. The first `unknown` of a Read, and all but the first
  // `known` of a Write, may be memory that isn't there.
  Moved Read(std::span<const iovec> parts, std::size_t unknown);
  Moved Write(std::span<const iovec> parts, std::size_t known);
  // Whether it has begun with bytes that the last Write, which was blocked, was given.
  bool HoldsBytes() const { return held_ > 0; }
  // Whether Read has bytes that the socket doesn't show any more.
  bool HasReadAhead();

  // Bytes of this stream that the other host has acknowledged; 0 where the kernel doesn't say.
  std::uint64_t TakenBytes() const;
  // What each Write of a few bytes costs beside them: a TLS 1.3 record's header, type and tag (RFC
  // 8446, 5.2).
  std::size_t overhead_bytes() const { return encrypted() ? 22 : 0; }

  bool connector() const { return connector_; }
  bool encrypted() const { return identity_.encrypt; }
  // Whom the handshake was with, for the connecting end, or whom the connector meant by it.
  std::string_view whose() const { return identity_.whose(); }
  int fd() const { return socket_.get(); }
  // Read gives what has arrived, then the end.
  void Shutdown();
  // REQUIRES: nobody uses the socket, or will.
  void Close() { socket_.Reset(); }

  ByteStream(UniqueFd socket, bool connector, const Tls::Identity& identity,
             const BounceBuffer& bounce)
      : identity_(identity),
        bounce_(bounce),
        socket_(std::move(socket)),
        connector_(connector),
        connecting_(connector) {}

  static constexpr std::size_t kRecordBytes = 16 << 10;  // TLS's largest
  static constexpr std::size_t kBounceBytes = 2 * kRecordBytes;

 private:
  Moved ReadTls(std::span<const iovec> parts, std::size_t unknown);
  Moved WriteTls(std::span<const iovec> parts, std::size_t known);
  std::size_t GatherRecord(std::span<const iovec> parts, std::size_t known);
  Moved TlsProblem(int returned);

  Tls::Identity identity_;  // the accepting end's handshake fills it in
  const BounceBuffer& bounce_;
  UniqueFd socket_;
  const bool connector_;
  bool connecting_;
  SslPtr ssl_;            // null once a plain stream has shaken hands
  std::mutex tls_mutex_;  // guards ssl_, the bounce buffer and held_ after the handshake
  std::size_t held_ =
      // bytes of the bounce buffer that OpenSSL has taken and not yet sent: the next Write goes on
      // with them
      0;
};

}  // namespace memfabric::transport::tcp
