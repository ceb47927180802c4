// base/url.h: the URLs that name a store (docs/contract/python.md §0), parsed and checked.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace memfabric {

struct HostPort {
  std::string host;  // IPv4, IPv6 without its brackets, or a host name
  std::uint16_t port = 0;

  std::string ToString() const;  // "10.0.0.1:5000", "[::1]:5000"
  bool operator==(const HostPort&) const = default;
};

struct StoreUrl {
  enum class Scheme { kTcp, kEtcd };
  Scheme scheme = Scheme::kTcp;
  std::vector<HostPort> endpoints;  // one for tcp://, one or more for etcd://
  // etcd:// only: "" or "/some/prefix", without a slash at its end
  std::string prefix;

  std::string ToString() const;
  bool operator==(const StoreUrl&) const = default;
};

// InvalidArgument names the part that is wrong. Port 0 is refused unless `allow_port_zero`.
Result<StoreUrl> ParseStoreUrl(std::string_view text, bool allow_port_zero = false);
// "host:port", "[v6]:port".
Result<HostPort> ParseHostPort(std::string_view text, bool allow_port_zero = false);

}  // namespace memfabric
