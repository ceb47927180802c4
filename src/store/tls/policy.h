// store/tls/policy.h: whether this machine's OpenSSL policy (its configuration file: MinProtocol,
// MaxProtocol, Protocol, Ciphersuites) lets TLS 1.3 be spoken, which is all that we speak. No
// state; any thread.

#pragma once

#include <openssl/ssl.h>

#include <string>

#include "base/status.h"

namespace memfabric::store {

// Of a context as SSL_CTX_new gives it. Unsupported names the setting and the file.
Status CheckTlsPolicy(SSL_CTX* fresh);
// "/etc/ssl/openssl.cnf", or what OPENSSL_CONF says.
std::string TlsPolicyFile();

}  // namespace memfabric::store
