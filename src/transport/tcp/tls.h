// transport/tcp/tls.h: TLS 1.3 with a key of the directory instead of certificates (RFC 8446,
// external PSK), by OpenSSL: a handshake proves to both ends that the other has read the listener's
// directory record.
//
// Owned by a venue. Threads: a Tls any; a session's SSL one at a time.

#pragma once

#include <openssl/ssl.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace memfabric::transport::tcp {

constexpr std::size_t kKeyBytes = 32;
using PresharedKey = std::array<unsigned char, kKeyBytes>;

// OutOfMemory or IoError when the machine's random numbers can't be had.
Status FillRandom(void* bytes, std::size_t size_bytes);

struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using SslPtr = std::unique_ptr<SSL, SslFree>;

class Tls {
 public:
  // The key of the member that a connector means by `whose`; null: there is none.
  using Lookup = std::function<const PresharedKey*(std::string_view whose)>;
  // What a handshake has to know; outlives its SSL.
  struct Identity {
    // Of the connecting end, which means `whose`.
    Identity(const PresharedKey& preshared_key, std::string_view whose, bool stay_encrypted);
    // Of the accepting end: the handshake sets key and name.
    Identity(Lookup find, bool stay_encrypted);
    std::string_view whose() const;  // the part of the name that the caller gave
    PresharedKey key{};
    bool encrypt;      // whether traffic stays in TLS afterwards; both ends have to mean the same
    std::string name;  // sent in the clear: no secret
    Lookup find_key;
    bool absent = false;  // the connector means somebody whom find_key doesn't know
  };

  // Unsupported: this machine's OpenSSL speaks no TLS 1.3, or may not.
  static Result<std::unique_ptr<Tls>> Create();

  // An end of a handshake on a connected or connecting `socket`, which outlives it.
  Result<SslPtr> Begin(int socket, bool connector, Identity& identity) const;

  using ContextPtr = std::unique_ptr<SSL_CTX, SslFree>;
  explicit Tls(ContextPtr context) : context_(std::move(context)) {}

 private:
  const ContextPtr context_;
};

// What OpenSSL's error queue of this thread says, which is empty afterwards: "tlsv1 alert decrypt
// error".
std::string TlsErrorText();

}  // namespace memfabric::transport::tcp
