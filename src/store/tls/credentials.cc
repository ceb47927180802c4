#include "store/tls/credentials.h"

#include <openssl/err.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "base/log.h"
#include "store/tls/policy.h"
#include "store/tls/relay.h"

namespace memfabric::store {
namespace {

constexpr unsigned char kAlpn[] = {2, 'h', '2'};  // gRPC is HTTP/2 (RFC 7301, 3.1; RFC 9113, 3.2)

int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* size,
                   const unsigned char* offered, unsigned int offered_size, void*) {
  for (unsigned int i = 0; i < offered_size; i += 1U + offered[i]) {
    if (offered[i] != kAlpn[0] || i + sizeof kAlpn > offered_size) continue;
    if (std::memcmp(offered + i, kAlpn, sizeof kAlpn) != 0) continue;
    *chosen = offered + i + 1;
    *size = kAlpn[0];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

std::chrono::hours FromVariable(const char* name, std::chrono::hours unit, int least, int most,
                                std::chrono::hours otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  std::string_view view(text);
  int value = 0;
  auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error == std::errc() && end == view.data() + view.size() && value >= least && value <= most)
    return unit * value;
  LOG(kWarn, "{} is '{}'; it must be a number from {} to {}: {} counts", name, text, least, most,
      otherwise / unit);
  return otherwise;
}

std::string LastError() {
  char text[256] = "";
  ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason != nullptr ? reason : text;
}

}  // namespace

ExpiryOptions ExpiryOptions::FromEnvironment() {
  ExpiryOptions options;
  options.period =
      FromVariable("ACCLINK_CHECK_PERIOD_HOURS", std::chrono::hours(1), 24, 720, options.period);
  options.ahead =
      FromVariable("ACCLINK_CERT_CHECK_AHEAD_DAYS", std::chrono::hours(24), 7, 180, options.ahead);
  return options;
}

Result<std::shared_ptr<const TlsCredentials>> TlsCredentials::Create(Certificates certificates,
                                                                     const PrivateKey& key,
                                                                     const ExpiryOptions& expiry,
                                                                     Clock& clock) {
  RETURN_IF_ERROR(certificates.CheckKey(key));
  RETURN_IF_ERROR(certificates.Check());
  std::shared_ptr<TlsCredentials> credentials(
      new TlsCredentials(std::move(certificates), expiry, clock));
  const Certificates& all = credentials->certificates_;
  ERR_clear_error();
  credentials->context_.reset(SSL_CTX_new(TLS_method()));
  SSL_CTX* context = credentials->context_.get();
  RETURN_IF_ERROR(CheckTlsPolicy(context));
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
  // A connection that is resumed would be made without looking at certificates again.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                     &TlsRelay::OnVerify);
  SSL_CTX_set1_cert_store(context, all.store());
  SSL_CTX_set_alpn_protos(context, kAlpn, sizeof kAlpn);
  SSL_CTX_set_alpn_select_cb(context, &ChooseProtocol, nullptr);
  bool taken = SSL_CTX_use_certificate(context, all.own()) == 1;
  for (auto next = all.chain().begin() + 1; taken && next != all.chain().end(); ++next)
    taken = SSL_CTX_add1_chain_cert(context, next->get()) == 1;
  if (!taken || SSL_CTX_use_PrivateKey(context, key.get()) != 1)
    return InvalidArgument("certificate {} or its key can't be used: {}", SubjectOf(all.own()),
                           LastError());
  credentials->WarnIfDue();
  return std::shared_ptr<const TlsCredentials>(std::move(credentials));
}

void TlsCredentials::WarnIfDue() const {
  auto now = clock_.Now();
  auto due = next_check_.load();
  if (now.time_since_epoch().count() < due) return;
  // another does it
  if (!next_check_.compare_exchange_strong(due, (now + expiry_.period).time_since_epoch().count()))
    return;
  for (const auto& line : certificates_.EndingSoon(std::chrono::system_clock::now(), expiry_.ahead))
    LOG(kWarn, "{}", line);
}

void PrepareOpenSsl() { OPENSSL_init_ssl(0, nullptr); }

}  // namespace memfabric::store
