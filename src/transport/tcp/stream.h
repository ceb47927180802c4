// transport/tcp/stream.h: the bytes of one TCP connection: first a TLS handshake, then plain or inside TLS. Never blocks.
//
// Owned by its connection. Threads: Read from one at a time, Write from one at a time, both at once; Handshake alone.

#pragma once

#include <sys/uio.h>

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "transport/tcp/tls.h"

namespace memfabric::transport::tcp {

class Stream {
 public:
  enum class State { kMoved, kBlocked, kEnded };
  struct Moved {
    State state = State::kBlocked;
    std::size_t bytes = 0;
    Status why{};  // of kEnded; Ok: the other end closed it. InvalidArgument: what came is no TLS
  };
  enum class Need { kNothing, kReadable, kWritable, kAnotherTry };

  // `connector`: the socket is connecting, or connected. `identity` is the listener's.
  static Result<std::unique_ptr<Stream>> Open(const Tls& tls, UniqueFd socket, bool connector, const Tls::Identity& identity);

  // Goes on with connecting and the handshake; what it needs to go on again, kNothing once it is done. kAnotherTry: the
  // listener closed it without a reason. An error is final.
  // Disconnected: nobody is there, or it closed. InvalidArgument: the keys differ, or it talks something else.
  Result<Need> Handshake();

  // At least one byte of `parts`, or why not.
  Moved Read(std::span<const iovec> parts);
  Moved Write(std::span<const iovec> parts);
  // Whether Read has bytes that the socket doesn't show any more.
  bool HasReadAhead();

  // Bytes of this stream that the other host has acknowledged; 0 where the kernel doesn't say.
  std::uint64_t TakenBytes() const;
  // What each Write of a few bytes costs beside them: a TLS 1.3 record's header, type and tag (RFC 8446, 5.2).
  std::size_t overhead_bytes() const { return encrypted() ? 22 : 0; }

  bool connector() const { return connector_; }
  bool encrypted() const { return identity_.encrypt; }
  int fd() const { return socket_.get(); }
  // Read gives what has arrived, then the end.
  void Shutdown();
  // REQUIRES: nobody uses the socket, or will.
  void Close() { socket_.Reset(); }

  Stream(UniqueFd socket, bool connector, const Tls::Identity& identity)
      : identity_(identity), socket_(std::move(socket)), connector_(connector), connecting_(connector) {}

 private:
  Moved ReadTls(std::span<const iovec> parts);
  Moved WriteTls(std::span<const iovec> parts);
  Moved TlsProblem(int returned);

  const Tls::Identity identity_;
  UniqueFd socket_;
  const bool connector_;
  bool connecting_;
  SslPtr ssl_;            // null once a plain stream has shaken hands
  std::mutex tls_mutex_;  // guards ssl_ and gathered_ after the handshake
  std::vector<char> gathered_;
};

}  // namespace memfabric::transport::tcp
