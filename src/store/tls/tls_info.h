// store/tls/tls_info.h: what set_conf_store_tls is told (docs/contract/python.md §1): a text that
// names files. No state; any thread.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace memfabric::store {

// Names of files, absolute or from the working directory.
struct TlsFiles {
  // certificates of those whose signature counts; at least one
  std::vector<std::string> authorities;
  std::vector<std::string> revocations;  // lists of revoked certificates
  // this process's own, then those between it and an authority
  std::string certificate;

  bool operator==(const TlsFiles&) const = default;
};

// "tlsCaPath: /etc/tls; tlsCaFile: ca.pem, other.pem; tlsCert: /etc/tls/rank.pem;". Only the text
// is looked at, no file. InvalidArgument names the key that is missing, unknown or given twice.
Result<TlsFiles> ParseTlsInfo(std::string_view info);

}  // namespace memfabric::store
