#include "store/tls/authority.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace memfabric::store::test {
namespace {

using FilePtr = std::unique_ptr<std::FILE, Freer<std::fclose>>;

std::filesystem::path NewDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "memfabric-ca-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) std::abort();
  return name;
}

FilePtr Create(const std::string& name) {
  FilePtr file(std::fopen(name.c_str(), "we"));
  if (file == nullptr) std::abort();
  return file;
}

KeyPtr NewKey() { return KeyPtr(EVP_EC_gen("P-256")); }

CertificatePtr NewCertificate(long serial, const std::string& common_name, EVP_PKEY* key,
                              long begins, long ends) {
  CertificatePtr certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), begins);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), ends);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  X509_set_pubkey(certificate.get(), key);
  return certificate;
}

void Extend(X509* certificate, X509* issuer, int what, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str());
  if (extension == nullptr) std::abort();
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

void Write(const std::string& name, X509* certificate) {
  PEM_write_X509(Create(name).get(), certificate);
}

}  // namespace

Authority::Authority(const std::string& name) : directory_(NewDirectory()), key_(NewKey()) {
  certificate_ = NewCertificate(1, name, key_.get(), -7200, 3650L * 24 * 3600);
  X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
  Extend(certificate_.get(), certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  Extend(certificate_.get(), certificate_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  X509_sign(certificate_.get(), key_.get(), EVP_sha256());
  Write(certificate(), certificate_.get());
}

Authority::~Authority() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

Authority::Issued Authority::Issue(const Wish& wish) {
  Issued issued{.certificate = (directory_ / (wish.name + ".pem")).string(),
                .key_file = (directory_ / (wish.name + ".key")).string(),
                .key = {},
                .serial = next_serial_++};
  KeyPtr key = NewKey();
  auto certificate =
      NewCertificate(issued.serial, wish.name, key.get(), wish.begins_in_s, wish.ends_in_s);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
  if (!wish.alternative_names.empty())
    Extend(certificate.get(), certificate_.get(), NID_subject_alt_name, wish.alternative_names);
  X509_sign(certificate.get(), key_.get(), EVP_sha256());
  Write(issued.certificate, certificate.get());
  const EVP_CIPHER* cipher = wish.password.empty() ? nullptr : EVP_aes_256_cbc();
  PEM_write_PKCS8PrivateKey(Create(issued.key_file).get(), key.get(), cipher,
                            cipher == nullptr ? nullptr : wish.password.c_str(),
                            static_cast<int>(wish.password.size()), nullptr, nullptr);
  std::ifstream file(issued.key_file);
  issued.key.assign(std::istreambuf_iterator<char>(file), {});
  return issued;
}

std::string Authority::Revoke(const std::vector<long>& serials, long ends_in_s) {
  CrlPtr list(X509_CRL_new());
  X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(certificate_.get()));
  std::unique_ptr<ASN1_TIME, Freer<ASN1_TIME_free>> now(X509_gmtime_adj(nullptr, -3600));
  std::unique_ptr<ASN1_TIME, Freer<ASN1_TIME_free>> end(X509_gmtime_adj(nullptr, ends_in_s));
  X509_CRL_set1_lastUpdate(list.get(), now.get());
  X509_CRL_set1_nextUpdate(list.get(), end.get());
  for (long serial : serials) {
    X509_REVOKED* entry = X509_REVOKED_new();
    std::unique_ptr<ASN1_INTEGER, Freer<ASN1_INTEGER_free>> number(ASN1_INTEGER_new());
    ASN1_INTEGER_set(number.get(), serial);
    X509_REVOKED_set_serialNumber(entry, number.get());
    X509_REVOKED_set_revocationDate(entry, now.get());
    X509_CRL_add0_revoked(list.get(), entry);
  }
  X509_CRL_sign(list.get(), key_.get(), EVP_sha256());
  std::string name = (directory_ / "revoked.pem").string();
  PEM_write_X509_CRL(Create(name).get(), list.get());
  return name;
}

std::string Authority::Info(const Issued& issued, const std::string& revoked) const {
  std::string info =
      "tlsCaPath: " + directory() + "; tlsCaFile: ca.pem; tlsCert: " + issued.certificate + ";";
  return revoked.empty() ? info
                         : info + " tlsCrlPath: " + directory() + "; tlsCrlFile: " + revoked + ";";
}

}  // namespace memfabric::store::test
