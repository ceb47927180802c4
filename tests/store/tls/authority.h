// tests/store/tls/authority.h: an authority (CA) of a test, with its files in a directory that goes
// with it.
//
// Threads: one at a time.

#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "store/tls/openssl.h"

namespace memfabric::store::test {

class Authority {
 public:
  explicit Authority(const std::string& name = "CN=Test CA");
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  struct Wish {
    std::string name = "rank";
    long begins_in_s = -3600;
    long ends_in_s = 365L * 24 * 3600;
    std::string alternative_names{};  // as in OpenSSL's configuration: "IP:127.0.0.1"
    std::string password{};           // encrypts the key
  };
  struct Issued {
    std::string certificate;  // file
    std::string key_file;
    std::string key;  // PEM
    long serial = 0;
  };
  Issued Issue(const Wish& wish);

  // A list of revoked serial numbers; the file's name.
  std::string Revoke(const std::vector<long>& serials, long ends_in_s = 24 * 3600);

  std::string directory() const { return directory_.string(); }
  std::string certificate() const { return (directory_ / "ca.pem").string(); }
  // For set_conf_store_tls; `revoked`: name of a list, or "".
  std::string Info(const Issued& issued, const std::string& revoked = "") const;

 private:
  const std::filesystem::path directory_;
  KeyPtr key_;
  CertificatePtr certificate_;
  long next_serial_ = 100;
};

}  // namespace memfabric::store::test
