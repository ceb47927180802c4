// store/tls/settings.h: what a program says about the store's TLS, in its two ways: by calls, one
// for the certificates and one for the key, and by the names of files. From either come the
// credentials that connections are opened with.
//
// Threads: one at a time; who owns the settings sees to that.

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "store/tls/credentials.h"
#include "store/tls/private_key.h"
#include "store/tls/secret.h"
#include "store/tls/tls_info.h"

namespace memfabric::store {

class TlsSettings {
 public:
  // set_conf_store_tls(True, info). InvalidArgument says what is wrong with the text, a file, the
  // certificate, or its match with the key, if that came first; then all stays as it was.
  Status Enable(std::string_view info);
  // Nothing is kept, nor is the key.
  void Disable();

  // set_conf_store_tls_key. InvalidArgument: unreadable, wrong password, or not the certificate's,
  // if that came first.
  Status SetKey(std::string_view pem, std::string_view password);

  // For connections that are opened from now on; null: TLS is off. NotStarted: it is on, and the
  // key is missing. Shared with those connections.
  Result<std::shared_ptr<const TlsCredentials>> Credentials() const;

 private:
  std::optional<TlsFiles> files_;  // TLS is on
  std::optional<PrivateKey> key_;
  std::shared_ptr<const TlsCredentials> credentials_;  // of both
};

// smem_tls_config, for C programs; "" for what isn't given.
struct TlsConfig {
  bool enabled = false;
  std::string authorities;
  std::string revocations;
  std::string certificate;
  std::string key;
  std::string key_password;  // name of the file that holds it
  std::string decrypter;     // name of a library

  bool operator==(const TlsConfig&) const = default;
};

// REQUIRES: it is enabled. InvalidArgument names the file, and what is wrong with it.
Result<std::shared_ptr<const TlsCredentials>> LoadTls(const TlsConfig& config);

// As smem_decrypt_handler.
using DecryptFunction = int (*)(const char* cipher, std::size_t cipher_size, char* plain,
                                std::size_t* plain_size);
// What `decrypt` makes of the password. InvalidArgument: it failed.
Result<Secret> Decrypt(std::string_view password, DecryptFunction decrypt);

}  // namespace memfabric::store
