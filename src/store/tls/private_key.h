// store/tls/private_key.h: a private key, from its PEM text. A value that shares the key with its
// copies; any thread.

#pragma once

#include <string_view>
#include <utility>

#include "base/status.h"
#include "store/tls/openssl.h"

namespace memfabric::store {

class PrivateKey {
 public:
  // `password` is looked at only when the key is encrypted. Nothing of either is kept in the clear
  // but the key itself, and no error shows any of it. InvalidArgument says which is wrong: the
  // text, or the password.
  static Result<PrivateKey> Parse(std::string_view pem, std::string_view password);

  PrivateKey(const PrivateKey& other);
  PrivateKey(PrivateKey&&) noexcept = default;
  PrivateKey& operator=(PrivateKey other) noexcept {
    key_ = std::move(other.key_);
    return *this;
  }

  EVP_PKEY* get() const { return key_.get(); }

 private:
  explicit PrivateKey(KeyPtr key) : key_(std::move(key)) {}
  KeyPtr key_;  // wiped by OpenSSL when the last copy goes
};

}  // namespace memfabric::store
