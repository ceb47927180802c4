#include "transport/tcp/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <ctime>
#include <string_view>

#include "base/retry.h"
#include "store/tls/policy.h"

namespace memfabric::transport::tcp {
namespace {

constexpr std::string_view kPlainIdentity = "memfabric-1 plain ";
constexpr std::string_view kEncryptedIdentity = "memfabric-1 encrypted ";
constexpr std::array<unsigned char, 2> kAes128Gcm{0x13, 0x01};

std::string_view Prefix(const Tls::Identity& identity) {
  return identity.encrypt ? kEncryptedIdentity : kPlainIdentity;
}

SSL_SESSION* SessionOf(SSL* ssl, const Tls::Identity& identity) {
  SSL_SESSION* session = SSL_SESSION_new();
  const SSL_CIPHER* cipher = SSL_CIPHER_find(ssl, kAes128Gcm.data());
  if (session != nullptr && cipher != nullptr &&
      SSL_SESSION_set1_master_key(session, identity.key.data(), kKeyBytes) == 1 &&
      SSL_SESSION_set_cipher(session, cipher) == 1 &&
      SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1) {
    return session;
  }
  SSL_SESSION_free(session);
  return nullptr;
}

// The connector offers the key of the listener that it means.
int OfferKey(SSL* ssl, const EVP_MD*, const unsigned char** id, std::size_t* id_bytes,
             SSL_SESSION** session) {
  const auto& identity = *static_cast<const Tls::Identity*>(SSL_get_app_data(ssl));
  *session = SessionOf(ssl, identity);
  *id = reinterpret_cast<const unsigned char*>(identity.name.data());
  *id_bytes = identity.name.size();
  return *session != nullptr ? 1 : 0;
}

// The listener takes the key of the member that the connector means.
int FindKey(SSL* ssl, const unsigned char* id, std::size_t id_bytes, SSL_SESSION** session) {
  auto& identity = *static_cast<Tls::Identity*>(SSL_get_app_data(ssl));
  const std::string_view offered(reinterpret_cast<const char*>(id), id_bytes);
  *session = nullptr;
  // Without a session the handshake fails for want of a certificate.
  if (!offered.starts_with(Prefix(identity))) return 1;
  const PresharedKey* key = identity.find_key(offered.substr(Prefix(identity).size()));
  identity.absent = key == nullptr;
  if (key == nullptr) return 1;
  identity.key = *key;
  identity.name = offered;
  *session = SessionOf(ssl, identity);
  return 1;
}

// Once the kernel encrypts, what isn't payload goes by control messages, which only OpenSSL's own
// write knows. It knows nothing of MSG_NOSIGNAL, so the signal is held and taken back.
int WriteByKernelTls(BIO* bio, const char* bytes, int size_bytes) {
  sigset_t pipe;
  sigset_t before;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
  int sent = BIO_meth_get_write(BIO_s_socket())(bio, bytes, size_bytes);
  const int error = errno;
  if (sent < 0 && error == EPIPE) {
    const timespec at_once{};
    (void)RetryOnSignal([&] { return ::sigtimedwait(&pipe, nullptr, &at_once); });
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return sent;
}

// OpenSSL's socket BIO, but a peer that is gone raises no SIGPIPE.
int WriteWithoutSignal(BIO* bio, const char* bytes, int size_bytes) {
  if (BIO_get_ktls_send(bio) > 0) return WriteByKernelTls(bio, bytes, size_bytes);
  BIO_clear_retry_flags(bio);
  int fd = -1;
  BIO_get_fd(bio, &fd);
  ssize_t sent = RetryOnSignal(
      [&] { return ::send(fd, bytes, static_cast<std::size_t>(size_bytes), MSG_NOSIGNAL); });
  if (sent < 0 && errno == EAGAIN) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    const BIO_METHOD* socket = BIO_s_socket();
    BIO_METHOD* made = BIO_meth_new(BIO_TYPE_SOCKET, "socket without SIGPIPE");
    if (made == nullptr) return made;
    BIO_meth_set_write(made, WriteWithoutSignal);
    BIO_meth_set_read(made, BIO_meth_get_read(socket));
    BIO_meth_set_puts(made, BIO_meth_get_puts(socket));
    BIO_meth_set_ctrl(made, BIO_meth_get_ctrl(socket));
    BIO_meth_set_create(made, BIO_meth_get_create(socket));
    BIO_meth_set_destroy(made, BIO_meth_get_destroy(socket));
    return made;
  }();
  return method;
}

}  // namespace

Tls::Identity::Identity(const PresharedKey& preshared_key, std::string_view whose,
                        bool stay_encrypted)
    : key(preshared_key), encrypt(stay_encrypted), name(Prefix(*this)) {
  name += whose;
}

Tls::Identity::Identity(Lookup find, bool stay_encrypted)
    : encrypt(stay_encrypted), find_key(std::move(find)) {}

std::string_view Tls::Identity::whose() const {
  return std::string_view(name).substr(Prefix(*this).size());
}

std::string TlsErrorText() {
  const char* text = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return text != nullptr ? text : "no reason given";
}

Status FillRandom(void* bytes, std::size_t size_bytes) {
  if (RAND_bytes(static_cast<unsigned char*>(bytes), static_cast<int>(size_bytes)) == 1)
    return Ok();
  return IoError("no random numbers from OpenSSL: {}", TlsErrorText());
}

Result<std::unique_ptr<Tls>> Tls::Create() {
  ContextPtr context(SSL_CTX_new(TLS_method()));
  RETURN_IF_ERROR(store::CheckTlsPolicy(context.get()));
  if (SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context.get(), "TLS_AES_128_GCM_SHA256") != 1 ||
      SSL_CTX_set1_groups_list(context.get(), "X25519:P-256") != 1 ||
      SSL_CTX_set_num_tickets(context.get(), 0) != 1) {
    return Unsupported("no TLS 1.3 with AES-128-GCM from OpenSSL: {}; see its configuration, {}",
                       TlsErrorText(), store::TlsPolicyFile());
  }
  SSL_CTX_clear_options(context.get(), SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_psk_use_session_callback(context.get(), OfferKey);
  SSL_CTX_set_psk_find_session_callback(context.get(), FindKey);
  return std::make_unique<Tls>(std::move(context));
}

Result<SslPtr> Tls::Begin(int socket, bool connector, Identity& identity) const {
  SslPtr ssl(SSL_new(context_.get()));
  const BIO_METHOD* method = SocketMethod();
  BIO* bio = ssl != nullptr && method != nullptr ? BIO_new(method) : nullptr;
  if (bio == nullptr) return OutOfMemory("no TLS session from OpenSSL: {}", TlsErrorText());
  BIO_set_fd(bio, socket, BIO_NOCLOSE);
  SSL_set_bio(ssl.get(), bio, bio);
  SSL_set_app_data(ssl.get(), &identity);
  // The kernel's TLS, where it has it. Never for a stream that is plain later: the kernel doesn't
  // let go of it.
  if (identity.encrypt) SSL_set_options(ssl.get(), SSL_OP_ENABLE_KTLS);
  if (connector) {
    SSL_set_connect_state(ssl.get());
    SSL_set_verify(ssl.get(), SSL_VERIFY_PEER, nullptr);  // no certificate is one that we know
  } else {
    SSL_set_accept_state(ssl.get());
  }
  return ssl;
}

}  // namespace memfabric::transport::tcp
