// store/tls/certificates.h: the certificates that a process shows and trusts, read from their files
// and checked.
//
// A value that moves; const functions from any thread.

#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/status.h"
#include "store/tls/openssl.h"
#include "store/tls/private_key.h"
#include "store/tls/tls_info.h"

namespace memfabric::store {

class Certificates {
 public:
  // InvalidArgument names the file that is missing, isn't a regular one or holds something else.
  static Result<Certificates> Load(const TlsFiles& files);

  // Our own certificate as a peer sees it now. InvalidArgument: expired, not valid yet, revoked, or
  // signed by none of the authorities.
  Status Check() const;
  Status CheckKey(const PrivateKey& key) const;  // InvalidArgument: it isn't the certificate's

  // Trusts the authorities, and refuses what the lists revoke.
  X509_STORE* store() const { return store_.get(); }
  X509* own() const { return chain_.front().get(); }
  // our own and what follows it in its file
  const std::vector<CertificatePtr>& chain() const { return chain_; }

  // A line for each certificate of ours or of an authority that ends within `ahead` of `time`, or
  // has ended.
  std::vector<std::string> EndingSoon(std::chrono::system_clock::time_point time,
                                      std::chrono::hours ahead) const;

 private:
  Certificates() = default;

  TlsFiles files_;
  std::vector<CertificatePtr> chain_;
  std::vector<CertificatePtr> authorities_;
  StorePtr store_;
};

// Why a certificate was refused: "certificate CN=rank has expired on 2026-11-25 …". `context` as a
// verification left it.
std::string WhyRefused(X509_STORE_CTX* context);

// For verifications: an authority that gave no list revokes nothing. Otherwise `ok`.
int AllowMissingLists(int ok, X509_STORE_CTX* context);

std::string SubjectOf(const X509* certificate);

}  // namespace memfabric::store
