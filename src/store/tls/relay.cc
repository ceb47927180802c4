#include "store/tls/relay.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "store/tls/greeting.h"

namespace memfabric::store {
namespace {

constexpr int kHeldBack = MSG_DONTWAIT | MSG_NOSIGNAL;
constexpr std::string_view kAgree = "turn TLS on there, or off here (set_conf_store_tls)";

// A fatal alert, protocol_version (RFC 8446, 6): what a client that speaks no TLS is told.
constexpr unsigned char kNoTlsAlert[] = {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46};

bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

// The alert that the peer sent, or -1.
int AlertOf(unsigned long error) {
  int reason = ERR_GET_REASON(error);
  return ERR_GET_LIB(error) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET
             ? reason - SSL_AD_REASON_OFFSET
             : -1;
}

std::string AlertText(int alert) {
  switch (alert) {
    case SSL_AD_CERTIFICATE_EXPIRED: return "it refuses our certificate: it has expired";
    case SSL_AD_CERTIFICATE_REVOKED: return "it refuses our certificate: it was revoked";
    case SSL_AD_UNKNOWN_CA:
      return "it refuses our certificate: it trusts none of the authorities (CAs) that signed it";
    case SSL_AD_BAD_CERTIFICATE: return "it refuses our certificate (TLS alert: bad certificate)";
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_ACCESS_DENIED:
      return fmt::format("it refuses our certificate (TLS alert: {})",
                         SSL_alert_desc_string_long(alert));
    case SSL_AD_PROTOCOL_VERSION:
      return "it doesn't speak TLS 1.3, and nothing older is spoken here";
    case SSL_AD_NO_APPLICATION_PROTOCOL:
      return "it speaks TLS, but not HTTP/2 inside: it isn't a store (etcd v3)";
    default:
      return fmt::format("it ended TLS with the alert '{}'", SSL_alert_desc_string_long(alert));
  }
}

}  // namespace

TlsRelay::TlsRelay(std::shared_ptr<const TlsCredentials> credentials, Role role, UniqueFd network,
                   UniqueFd plain, std::string host)
    : credentials_(std::move(credentials)),
      role_(role),
      host_(std::move(host)),
      network_(std::move(network)),
      plain_(std::move(plain)),
      ssl_(SSL_new(credentials_->context())) {
  if (ssl_ == nullptr || SSL_set_fd(ssl_.get(), network_.get()) != 1) {
    ERR_clear_error();
    state_ = State::kEnded;
    failure_ = OutOfMemory("OpenSSL makes no connection");
    return;
  }
  SSL_set_app_data(ssl_.get(), this);
  if (role == Role::kServer) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
    in6_addr numeric;
    bool is_address = inet_pton(AF_INET, host_.c_str(), &numeric) == 1 ||
                      inet_pton(AF_INET6, host_.c_str(), &numeric) == 1;
    // RFC 6066, 3: names only
    if (!is_address) SSL_set_tlsext_host_name(ssl_.get(), host_.c_str());
  }
}

TlsRelay::~TlsRelay() = default;

void TlsRelay::PrepareThread() {
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
}

TlsRelay::State TlsRelay::Advance() {
  if (state_ == State::kHandshake) Handshake();
  if (state_ == State::kOpen) Relay();
  if (state_ == State::kLingering) Linger();
  return state_;
}

short TlsRelay::network_events() const {
  switch (state_) {
    case State::kHandshake: return wants_write_ ? POLLOUT : POLLIN;
    case State::kOpen:
      return static_cast<short>((to_plain_.empty() ? POLLIN : 0) | (wants_write_ ? POLLOUT : 0));
    case State::kLingering: return POLLIN;
    case State::kEnded: break;
  }
  return 0;
}

short TlsRelay::plain_events() const {
  if (state_ != State::kOpen) return 0;
  return static_cast<short>((to_network_.empty() && !plain_ended_ ? POLLIN : 0) |
                            (to_plain_.empty() ? 0 : POLLOUT));
}

// --- The handshake ---

int TlsRelay::OnVerify(int ok, X509_STORE_CTX* context) {
  if (AllowMissingLists(ok, context) == 1) return 1;
  auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  static_cast<TlsRelay*>(SSL_get_app_data(ssl))->refusal_ = WhyRefused(context);
  return 0;
}

void TlsRelay::Handshake() {
  if (!peer_seen_ && !PeerSpeaksTls()) return;
  ERR_clear_error();
  int result = SSL_do_handshake(ssl_.get());
  if (result != 1) return Judge(result);
  const unsigned char* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &protocol, &size);
  if (size == 0)
    return End(InvalidArgument("it speaks TLS, but not HTTP/2 inside: it isn't a store (etcd v3)"));
  if (role_ == Role::kClient && !PeerIsMeant()) return;
  wants_write_ = false;
  state_ = State::kOpen;
}

// Looks at the peer's first bytes, when some are there. False: it speaks something else, and the
// relay has ended; or a server has to wait for them: were OpenSSL the first to see that they are no
// TLS, it would close without a word.
bool TlsRelay::PeerSpeaksTls() {
  char bytes[64];
  ssize_t got = recv(network_.get(), bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && WouldBlock(errno)) return role_ == Role::kClient;
  if (got <= 0) return true;  // OpenSSL finds out what that means
  peer_seen_ = true;
  std::string_view seen(bytes, static_cast<std::size_t>(got));
  if (LooksLikeTls(seen)) return true;
  std::string what = LooksLikeHttp2(seen) ? "it speaks HTTP/2 in the clear"
                                          : fmt::format("it says '{}'", Shown(seen));
  if (role_ == Role::kServer) {
    (void)send(network_.get(), kNoTlsAlert, sizeof kNoTlsAlert, kHeldBack);
    End(InvalidArgument("it speaks no TLS: {}", what));
  } else {
    End(InvalidArgument("it speaks no TLS: {}; {}", what, kAgree));
  }
  return false;
}

// A certificate that names hosts is for those only. One without names is any member's: whoever
// signed it vouches for that.
bool TlsRelay::PeerIsMeant() {
  CertificatePtr certificate(SSL_get1_peer_certificate(ssl_.get()));
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr));
  bool named = false;
  std::string all;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_DNS && name->type != GEN_IPADD) continue;
    named = true;
    BioPtr bio(BIO_new(BIO_s_mem()));
    GENERAL_NAME_print(bio.get(), const_cast<GENERAL_NAME*>(name));
    char* text = nullptr;
    auto size = BIO_get_mem_data(bio.get(), &text);
    all += (all.empty() ? "" : ", ") + std::string(text, static_cast<std::size_t>(size));
  }
  GENERAL_NAMES_free(names);
  std::string address = host_.substr(0, host_.find('%'));  // an IPv6 address without its zone
  bool meant = !named || X509_check_ip_asc(certificate.get(), address.c_str(), 0) == 1 ||
               X509_check_host(certificate.get(), host_.data(), host_.size(),
                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1;
  ERR_clear_error();
  if (meant) return true;
  End(InvalidArgument(
      "its certificate {} is for {}, not for {}: use such a name in the store's url",
      SubjectOf(certificate.get()), all, host_));
  return false;
}

// --- The contents ---

void TlsRelay::Relay() {
  wants_write_ = false;
  // What the peer has to say comes first: if it has refused us, writing fails without saying why.
  // One record a turn; poll tells of the rest.
  FromNetwork();
  if (state_ == State::kOpen) ToPlain();
  if (state_ == State::kOpen) FromPlain();
  if (state_ == State::kOpen) ToNetwork();
  if (state_ == State::kOpen && plain_ended_ && to_network_.empty()) {
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
    End(Ok());
  }
}

void TlsRelay::FromNetwork() {
  if (!to_plain_.empty()) return;
  ERR_clear_error();
  int got = SSL_read(ssl_.get(), to_plain_.bytes.data(), static_cast<int>(to_plain_.bytes.size()));
  if (got <= 0) return Judge(got);
  to_plain_.begin = 0;
  to_plain_.end = static_cast<std::size_t>(got);
}

void TlsRelay::ToPlain() {
  if (to_plain_.empty()) return;
  ssize_t sent = send(plain_.get(), to_plain_.bytes.data() + to_plain_.begin,
                      to_plain_.end - to_plain_.begin, kHeldBack);
  if (sent < 0) {
    if (!WouldBlock(errno)) End(Ok());  // gRPC has closed it
    return;
  }
  to_plain_.begin += static_cast<std::size_t>(sent);
}

void TlsRelay::FromPlain() {
  if (!to_network_.empty() || plain_ended_) return;
  ssize_t got =
      recv(plain_.get(), to_network_.bytes.data(), to_network_.bytes.size(), MSG_DONTWAIT);
  if (got < 0 && WouldBlock(errno)) return;
  if (got <= 0) {
    plain_ended_ = true;
    return;
  }
  to_network_.begin = 0;
  to_network_.end = static_cast<std::size_t>(got);
}

void TlsRelay::ToNetwork() {
  if (to_network_.empty()) return;
  ERR_clear_error();
  int sent = SSL_write(ssl_.get(), to_network_.bytes.data() + to_network_.begin,
                       static_cast<int>(to_network_.end - to_network_.begin));
  if (sent <= 0) return Judge(sent);
  to_network_.begin += static_cast<std::size_t>(sent);
  wants_write_ = !to_network_.empty();
}

// --- The end ---

void TlsRelay::Judge(int result) {
  int errno_value = errno;
  int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ) return;
  if (error == SSL_ERROR_WANT_WRITE) {
    wants_write_ = true;
    return;
  }
  if (error == SSL_ERROR_ZERO_RETURN) return End(Ok());
  Status why = Explain(error, errno_value);
  ERR_clear_error();
  End(std::move(why));
}

Status TlsRelay::Explain(int error, int errno_value) const {
  const bool shaking = state_ == State::kHandshake;
  Status closed = shaking ? Disconnected("it closed the connection during TLS's handshake")
                          : Disconnected("the connection was closed");
  if (!refusal_.empty()) return InvalidArgument("its {}", refusal_);
  unsigned long last = ERR_peek_last_error();
  if (error == SSL_ERROR_SSL) {
    if (int alert = AlertOf(last); alert >= 0) return InvalidArgument("{}", AlertText(alert));
    switch (ERR_GET_REASON(last)) {
      case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return InvalidArgument("it shows no certificate");
      case SSL_R_UNSUPPORTED_PROTOCOL:
      case SSL_R_NO_PROTOCOLS_AVAILABLE:
        return InvalidArgument("it doesn't speak TLS 1.3, and nothing older is spoken here");
      case SSL_R_UNEXPECTED_EOF_WHILE_READING: return closed;
      // its first bytes came between PeerSpeaksTls' look and OpenSSL's
      case SSL_R_WRONG_VERSION_NUMBER:
        if (peer_seen_) break;
        return InvalidArgument("it speaks no TLS; {}", kAgree);
      default: break;
    }
    const char* reason = ERR_reason_error_string(last);
    Status status = InvalidArgument(
        "TLS failed: {}", reason == nullptr ? "for a reason that OpenSSL doesn't tell" : reason);
    return shaking ? status : Disconnected("{}", status.message());
  }
  if (errno_value != 0) return Disconnected("the connection was lost: {}", ErrnoText(errno_value));
  return closed;
}

void TlsRelay::End(Status why) {
  bool lingers = state_ == State::kHandshake && IsInvalidArgument(why) &&
                 shutdown(network_.get(), SHUT_WR) == 0;
  failure_ = std::move(why);
  state_ = lingers ? State::kLingering : State::kEnded;
}

void TlsRelay::Linger() {
  for (int reads = 0; reads < 16; ++reads) {
    ssize_t got =
        recv(network_.get(), to_plain_.bytes.data(), to_plain_.bytes.size(), MSG_DONTWAIT);
    if (got < 0 && WouldBlock(errno)) return;
    if (got <= 0) {
      state_ = State::kEnded;
      return;
    }
  }
}

}  // namespace memfabric::store
