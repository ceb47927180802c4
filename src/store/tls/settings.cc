#include "store/tls/settings.h"

#include <dlfcn.h>

#include <array>

#include "store/tls/file.h"

namespace memfabric::store {
namespace {

constexpr std::size_t kMaxPasswordBytes = 1024;
constexpr const char* kDecryptSymbol = "smem_decrypt_password";  // what a decrypter library exports

Result<std::shared_ptr<const TlsCredentials>> Join(const TlsFiles& files, const PrivateKey& key) {
  ASSIGN_OR_RETURN(auto certificates, Certificates::Load(files));
  return TlsCredentials::Create(std::move(certificates), key, ExpiryOptions::FromEnvironment());
}

Result<Secret> DecryptByLibrary(std::string_view password, const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return InvalidArgument("decrypterLibPath '{}' can't be loaded: {}", library, dlerror());
  auto decrypt = reinterpret_cast<DecryptFunction>(dlsym(handle, kDecryptSymbol));
  if (decrypt == nullptr) {
    dlclose(handle);
    return InvalidArgument("decrypterLibPath '{}' has no function {}", library, kDecryptSymbol);
  }
  auto plain = Decrypt(password, decrypt);
  dlclose(handle);
  return plain;
}

}  // namespace

Status TlsSettings::Enable(std::string_view info) {
  ASSIGN_OR_RETURN(auto files, ParseTlsInfo(info));
  if (key_.has_value()) {
    ASSIGN_OR_RETURN(credentials_, Join(files, *key_));
  } else {
    ASSIGN_OR_RETURN(auto certificates, Certificates::Load(files));
    RETURN_IF_ERROR(certificates.Check());
    credentials_.reset();
  }
  files_ = std::move(files);
  return Ok();
}

void TlsSettings::Disable() {
  files_.reset();
  key_.reset();
  credentials_.reset();
}

Status TlsSettings::SetKey(std::string_view pem, std::string_view password) {
  ASSIGN_OR_RETURN(auto key, PrivateKey::Parse(pem, password));
  if (files_.has_value()) {
    ASSIGN_OR_RETURN(credentials_, Join(*files_, key));
  }
  key_ = std::move(key);
  return Ok();
}

Result<std::shared_ptr<const TlsCredentials>> TlsSettings::Credentials() const {
  if (files_.has_value() && credentials_ == nullptr)
    return NotStarted(
        "TLS is on for the store, and its private key is missing: call set_conf_store_tls_key "
        "first");
  return credentials_;
}

Result<std::shared_ptr<const TlsCredentials>> LoadTls(const TlsConfig& config) {
  TlsFiles files{
      .authorities = {config.authorities}, .revocations = {}, .certificate = config.certificate};
  if (!config.revocations.empty()) files.revocations.push_back(config.revocations);
  if (config.authorities.empty())
    return InvalidArgument("caPath is empty: it names the authorities' certificates");
  if (config.certificate.empty())
    return InvalidArgument("certPath is empty: it names this process's certificate");
  if (config.key.empty()) return InvalidArgument("keyPath is empty: it names the private key");
  ASSIGN_OR_RETURN(auto pem, ReadNamedFile(config.key));
  Secret key_text(std::move(pem));
  Secret password{std::string()};
  if (!config.key_password.empty()) {
    ASSIGN_OR_RETURN(auto text, ReadNamedFile(config.key_password));
    while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();  // an editor's
    password = Secret(std::move(text));
    if (!config.decrypter.empty()) {
      ASSIGN_OR_RETURN(password, DecryptByLibrary(password.text(), config.decrypter));
    }
  }
  auto key = PrivateKey::Parse(key_text.text(), password.text());
  if (!key.ok()) return key.status().WithContext(fmt::format("'{}'", config.key));
  return Join(files, *key);
}

Result<Secret> Decrypt(std::string_view password, DecryptFunction decrypt) {
  std::array<char, kMaxPasswordBytes> buffer{};
  std::size_t size = buffer.size();
  int code = decrypt(password.data(), password.size(), buffer.data(), &size);
  Secret plain(std::string(buffer.data(), code == 0 && size <= buffer.size() ? size : 0));
  OPENSSL_cleanse(buffer.data(), buffer.size());
  if (code != 0)
    return InvalidArgument(
        "the private key's password can't be decrypted: the decrypt handler returned {}", code);
  if (size > kMaxPasswordBytes)
    return InvalidArgument(
        "the private key's password can't be decrypted: the decrypt handler says that it has {} "
        "bytes; {} is "
        "the most",
        size, kMaxPasswordBytes);
  return plain;
}

}  // namespace memfabric::store
