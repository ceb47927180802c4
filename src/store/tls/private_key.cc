#include "store/tls/private_key.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/units.h"

namespace memfabric::store {
namespace {

constexpr std::size_t kMaxKeyBytes = 64_KiB;
constexpr std::size_t kMaxPasswordBytes = PEM_BUFSIZE - 1;  // OpenSSL's buffer for it

struct Password {
  std::string_view text;
  bool asked = false;  // the key is encrypted
};

int GivePassword(char* buffer, int size, int, void* context) {
  auto* password = static_cast<Password*>(context);
  password->asked = true;
  if (password->text.size() > static_cast<std::size_t>(size)) return -1;
  password->text.copy(buffer, password->text.size());
  return static_cast<int>(password->text.size());
}

}  // namespace

Result<PrivateKey> PrivateKey::Parse(std::string_view pem, std::string_view password) {
  if (pem.empty()) return InvalidArgument("the private key is empty");
  if (pem.size() > kMaxKeyBytes)
    return InvalidArgument("the private key has {} bytes; at most {} are allowed", pem.size(),
                           kMaxKeyBytes);
  if (password.size() > kMaxPasswordBytes)
    return InvalidArgument("the private key's password has {} bytes; at most {} are allowed",
                           password.size(), kMaxPasswordBytes);
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Password context{.text = password};
  ERR_clear_error();
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, &GivePassword, &context));
  ERR_clear_error();  // what OpenSSL says of it may quote the text
  if (key != nullptr) return PrivateKey(std::move(key));
  if (!context.asked)
    return InvalidArgument(
        "the private key can't be read: it must be PEM text ('-----BEGIN … PRIVATE KEY-----')");
  if (password.empty())
    return InvalidArgument("the private key is encrypted, and no password was given");
  return InvalidArgument("the private key can't be decrypted: its password is wrong");
}

PrivateKey::PrivateKey(const PrivateKey& other) : key_(other.key_.get()) {
  EVP_PKEY_up_ref(key_.get());
}

}  // namespace memfabric::store
