#include "store/tls/policy.h"

#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include <algorithm>

namespace memfabric::store {
namespace {

std::string_view VersionName(int version) {
  switch (version) {
    case SSL3_VERSION: return "SSLv3";
    case TLS1_VERSION: return "TLSv1";
    case TLS1_1_VERSION: return "TLSv1.1";
    default: return "TLSv1.2";
  }
}

Status Refused(const std::string& setting) {
  return Unsupported(
      "this machine's OpenSSL policy forbids TLS 1.3, which is needed: {} in {}; change it there, "
      "or name another file in the "
      "environment variable OPENSSL_CONF",
      setting, TlsPolicyFile());
}

}  // namespace

std::string TlsPolicyFile() {
  char* file = CONF_get1_default_config_file();
  std::string name = file == nullptr ? "OpenSSL's configuration file" : file;
  OPENSSL_free(file);
  return name;
}

Status CheckTlsPolicy(SSL_CTX* fresh) {
  if (fresh == nullptr) {
    const char* reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return Unsupported("OpenSSL makes no context ({}); see its configuration, {}",
                       reason == nullptr ? "no reason given" : reason, TlsPolicyFile());
  }
  const auto most = static_cast<int>(SSL_CTX_get_max_proto_version(fresh));
  if (most != 0 && most < TLS1_3_VERSION)
    return Refused(fmt::format("MaxProtocol = {}", VersionName(most)));
  if ((SSL_CTX_get_options(fresh) & SSL_OP_NO_TLSv1_3) != 0) return Refused("Protocol = -TLSv1.3");
  const STACK_OF(SSL_CIPHER)* suites = SSL_CTX_get_ciphers(fresh);
  for (int i = 0; i < sk_SSL_CIPHER_num(suites); ++i)
    if (std::string_view(SSL_CIPHER_get_version(sk_SSL_CIPHER_value(suites, i))) == "TLSv1.3")
      return Ok();
  return Refused("Ciphersuites, which names none of TLS 1.3,");
}

}  // namespace memfabric::store
