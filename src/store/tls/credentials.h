// store/tls/credentials.h: what TLS connections of the store are made with: TLS 1.3 only, both ends
// show a certificate.
//
// Immutable, but for the time of the next check. Shared by the clients and servers that were opened
// with it, which may outlive the setting that made it. Threads: any.

#pragma once

#include <atomic>
#include <chrono>
#include <memory>

#include "base/clock.h"
#include "base/status.h"
#include "store/tls/certificates.h"
#include "store/tls/openssl.h"
#include "store/tls/private_key.h"

namespace memfabric::store {

// When certificates are looked at for their end, and how long before it warnings begin
// (docs/contract/python.md §7).
struct ExpiryOptions {
  std::chrono::hours period{168};
  std::chrono::hours ahead{30 * 24};
  // From ACCLINK_CHECK_PERIOD_HOURS and ACCLINK_CERT_CHECK_AHEAD_DAYS; one that is no number in its
  // range is named in a warning, and doesn't count.
  static ExpiryOptions FromEnvironment();
};

class TlsCredentials {
 public:
  // InvalidArgument: the key isn't the certificate's, or that can't be used (Certificates::Check).
  static Result<std::shared_ptr<const TlsCredentials>> Create(Certificates certificates,
                                                              const PrivateKey& key,
                                                              const ExpiryOptions& expiry,
                                                              Clock& clock = SteadyClock());

  // Before anything is opened with them: Certificates::Check, as time has gone on.
  Status Check() const { return certificates_.Check(); }

  // Logs a warning for every certificate that ends soon, at most once a period. Whoever serves a
  // connection asks at NextCheck.
  void WarnIfDue() const;
  TimePoint NextCheck() const { return TimePoint(TimePoint::duration(next_check_.load())); }

  SSL_CTX* context() const { return context_.get(); }

 private:
  TlsCredentials(Certificates certificates, const ExpiryOptions& expiry, Clock& clock)
      : certificates_(std::move(certificates)), expiry_(expiry), clock_(clock) {}

  const Certificates certificates_;
  const ExpiryOptions expiry_;
  Clock& clock_;
  ContextPtr context_;
  mutable std::atomic<TimePoint::rep> next_check_{0};
};

// REQUIRES, before threads of ours use OpenSSL in a program that may end by exit(): OpenSSL's
// cleaning up at exit is registered by this call, so that what is registered later runs before it.
void PrepareOpenSsl();

}  // namespace memfabric::store
