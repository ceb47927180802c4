// store/tls/relay.h: one TLS connection: the handshake with the peer on one socket, then its
// contents on another one, which gRPC takes for the connection. gRPC's own TLS can neither be kept
// from TLS 1.2 nor say why a peer was refused.
//
// Owner: the thread that serves it, the only one to use it. It never waits: the owner polls for the
// events that it asks for.

#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/status.h"
#include "store/tls/credentials.h"

namespace memfabric::store {

class TlsRelay {
 public:
  enum class Role { kClient, kServer };
  enum class State {
    kHandshake,
    kOpen,
    kLingering,  // refused; what the peer still sends is read away, so that the reason reaches it
    kEnded
  };

  // Both sockets don't block, and close with the relay. `host`: who the client means to talk to;
  // its certificate must be for that, if it is for anybody by name. "" for servers.
  TlsRelay(std::shared_ptr<const TlsCredentials> credentials, Role role, UniqueFd network,
           UniqueFd plain, std::string host);
  ~TlsRelay();
  TlsRelay(const TlsRelay&) = delete;
  TlsRelay& operator=(const TlsRelay&) = delete;

  // Does what can be done without waiting.
  State Advance();

  State state() const { return state_; }
  // Why it has ended, Ok when by either end's will. InvalidArgument: one end refuses the other, or
  // the peer speaks no TLS; Disconnected: the connection was lost.
  const Status& failure() const { return failure_; }

  int network() const { return network_.get(); }
  int plain() const { return plain_.get(); }
  // For poll() and epoll alike: POLLIN, POLLOUT.
  short network_events() const;
  short plain_events() const;

  // A thread calls this before it serves relays: OpenSSL writes to sockets in a way that raises
  // SIGPIPE, which would end programs that don't expect it.
  static void PrepareThread();

  // For SSL_CTX_set_verify.
  static int OnVerify(int ok, X509_STORE_CTX* context);

 private:
  struct Buffer {
    std::array<char, 16384> bytes;  // a record of TLS (RFC 8446, 5.1)
    std::size_t begin = 0;
    std::size_t end = 0;
    bool empty() const { return begin == end; }
  };

  void Handshake();
  void Relay();
  void FromNetwork();
  void ToPlain();
  void FromPlain();
  void ToNetwork();
  void Linger();

  bool PeerSpeaksTls();
  bool PeerIsMeant();
  // What OpenSSL's call ended with: waiting, or the end.
  void Judge(int result);
  void End(Status why);
  Status Explain(int error, int errno_value) const;

  const std::shared_ptr<const TlsCredentials> credentials_;
  const Role role_;
  const std::string host_;
  UniqueFd network_;
  UniqueFd plain_;
  SslPtr ssl_;
  State state_ = State::kHandshake;
  Status failure_;
  std::string refusal_;  // what we have against the peer's certificate
  bool peer_seen_ = false;
  bool wants_write_ = false;  // OpenSSL waits for the network to take more
  bool plain_ended_ = false;
  Buffer to_plain_;
  Buffer to_network_;
};

}  // namespace memfabric::store
