#include "store/tls/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <ctime>

#include "store/tls/file.h"

namespace memfabric::store {
namespace {

// All objects of one kind in a PEM file; at least one.
template <typename Pointer, typename Read>
Status ReadAll(const std::string& name, std::string_view what, Read&& read,
               std::vector<Pointer>* objects) {
  ASSIGN_OR_RETURN(const std::string text, ReadNamedFile(name));
  BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  std::size_t before = objects->size();
  ERR_clear_error();
  while (Pointer object{read(bio.get())}) objects->push_back(std::move(object));
  auto end = ERR_peek_last_error();
  ERR_clear_error();
  bool all = ERR_GET_LIB(end) == ERR_LIB_PEM && ERR_GET_REASON(end) == PEM_R_NO_START_LINE;
  if (objects->size() == before || !all)
    return InvalidArgument("'{}' holds no {} in PEM, or a damaged one", name, what);
  return Ok();
}

X509* ReadCertificate(BIO* bio) { return PEM_read_bio_X509(bio, nullptr, nullptr, nullptr); }
X509_CRL* ReadCrl(BIO* bio) { return PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr); }

// In seconds: system_clock's nanoseconds end in 2262, and "no end" is written as 9999-12-31 (RFC
// 5280, 4.1.2.5).
std::chrono::sys_seconds TimeOf(const ASN1_TIME* time) {
  std::tm parts{};
  ASN1_TIME_to_tm(time, &parts);
  return std::chrono::sys_seconds(std::chrono::seconds(timegm(&parts)));
}

std::string DateText(const ASN1_TIME* time) {
  std::tm parts{};
  ASN1_TIME_to_tm(time, &parts);
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

}  // namespace

std::string SubjectOf(const X509* certificate) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  auto size = BIO_get_mem_data(bio.get(), &text);
  return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : "without a subject";
}

std::string WhyRefused(X509_STORE_CTX* context) {
  const X509* certificate = X509_STORE_CTX_get_current_cert(context);
  int error = X509_STORE_CTX_get_error(context);
  std::string who = "certificate " + (certificate == nullptr ? "unknown" : SubjectOf(certificate));
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("{} has expired on {}", who, DateText(X509_get0_notAfter(certificate)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{} is not yet valid: it begins on {}", who,
                         DateText(X509_get0_notBefore(certificate)));
    case X509_V_ERR_CERT_REVOKED: return who + " was revoked";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return who + " is signed by none of the authorities (CAs) that are trusted here";
    case X509_V_ERR_CRL_HAS_EXPIRED:
      return "the list of revoked certificates (CRL) that counts for " + who +
             " has expired: a newer one is needed";
    case X509_V_ERR_CRL_NOT_YET_VALID:
      return "the list of revoked certificates (CRL) that counts for " + who + " is not yet valid";
    default: return fmt::format("{} is refused: {}", who, X509_verify_cert_error_string(error));
  }
}

int AllowMissingLists(int ok, X509_STORE_CTX* context) {
  if (ok != 1 && X509_STORE_CTX_get_error(context) == X509_V_ERR_UNABLE_TO_GET_CRL) {
    X509_STORE_CTX_set_error(context, X509_V_OK);
    return 1;
  }
  return ok;
}

Result<Certificates> Certificates::Load(const TlsFiles& files) {
  Certificates all;
  all.files_ = files;
  std::vector<CrlPtr> lists;
  for (const auto& name : files.authorities)
    RETURN_IF_ERROR(ReadAll(name, "certificate", &ReadCertificate, &all.authorities_)
                        .WithContext("authorities (CAs)"));
  for (const auto& name : files.revocations)
    RETURN_IF_ERROR(
        ReadAll(name, "list", &ReadCrl, &lists).WithContext("revoked certificates (CRLs)"));
  RETURN_IF_ERROR(ReadAll(files.certificate, "certificate", &ReadCertificate, &all.chain_)
                      .WithContext("certificate"));
  all.store_.reset(X509_STORE_new());
  // an authority counts, whoever signed its own certificate
  unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
  if (!lists.empty()) flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
  X509_STORE_set_flags(all.store_.get(), flags);
  for (const auto& authority : all.authorities_)
    X509_STORE_add_cert(all.store_.get(), authority.get());
  for (const auto& list : lists) X509_STORE_add_crl(all.store_.get(), list.get());
  return all;
}

Status Certificates::Check() const {
  StoreContextPtr context(X509_STORE_CTX_new());
  STACK_OF(X509)* between = sk_X509_new_null();
  for (const auto& certificate : chain_) sk_X509_push(between, certificate.get());
  bool good = X509_STORE_CTX_init(context.get(), store_.get(), own(), between) == 1;
  if (good) {
    X509_STORE_CTX_set_verify_cb(context.get(), &AllowMissingLists);
    good = X509_verify_cert(context.get()) == 1;
  }
  std::string why = good ? "" : WhyRefused(context.get());
  context.reset();
  sk_X509_free(between);
  ERR_clear_error();
  if (good) return Ok();
  return InvalidArgument("'{}' can't be used: {}", files_.certificate, why);
}

Status Certificates::CheckKey(const PrivateKey& key) const {
  bool matches = X509_check_private_key(own(), key.get()) == 1;
  ERR_clear_error();
  if (matches) return Ok();
  return InvalidArgument("the private key doesn't match the certificate {} in '{}'",
                         SubjectOf(own()), files_.certificate);
}

std::vector<std::string> Certificates::EndingSoon(std::chrono::system_clock::time_point time,
                                                  std::chrono::hours ahead) const {
  const auto now = std::chrono::floor<std::chrono::seconds>(time);
  std::vector<std::string> lines;
  auto look = [&](const std::vector<CertificatePtr>& certificates, std::string_view whose) {
    for (const auto& certificate : certificates) {
      const ASN1_TIME* end = X509_get0_notAfter(certificate.get());
      if (TimeOf(end) - now > ahead) continue;
      lines.push_back(fmt::format("TLS for the store: {} certificate {} {} on {}: renew it", whose,
                                  SubjectOf(certificate.get()),
                                  TimeOf(end) <= now ? "has expired" : "expires", DateText(end)));
    }
  };
  look(chain_, "this process's");
  look(authorities_, "the authority's");
  return lines;
}

}  // namespace memfabric::store
