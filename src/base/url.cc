#include "base/url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace memfabric {
namespace {

constexpr std::size_t kMaxPrefixBytes = 512;
constexpr std::size_t kMaxHostNameBytes = 253;  // RFC 1035, section 2.3.4, as text

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_';
}

bool IsHostName(std::string_view host) {
  if (host.empty() || host.size() > kMaxHostNameBytes || host.front() == '-' || host.front() == '.')
    return false;
  if (!std::all_of(host.begin(), host.end(), IsNameCharacter)) return false;
  // those are IPv4 addresses, or wrong
  return host.find_first_not_of("0123456789.") != std::string_view::npos;
}

bool IsIpv4(const std::string& host) {
  in_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

// With a zone or without: "fe80::1%eth0".
bool IsIpv6(const std::string& host) {
  std::size_t percent = host.find('%');
  if (percent != std::string::npos) {
    std::string_view zone = std::string_view(host).substr(percent + 1);
    if (zone.empty() || !std::all_of(zone.begin(), zone.end(), IsNameCharacter)) return false;
  }
  in6_addr address;
  return inet_pton(AF_INET6, host.substr(0, percent).c_str(), &address) == 1;
}

Result<std::uint16_t> ParsePort(std::string_view text, bool allow_zero) {
  unsigned value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  unsigned lowest = allow_zero ? 0 : 1;
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < lowest ||
      value > 65535)
    return InvalidArgument("port '{}' is no number from {} to 65535", text, lowest);
  return static_cast<std::uint16_t>(value);
}

}  // namespace

std::string HostPort::ToString() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

std::string StoreUrl::ToString() const {
  std::string text = scheme == Scheme::kTcp ? "tcp://" : "etcd://";
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (i > 0) text += ',';
    text += endpoints[i].ToString();
  }
  return text + prefix;
}

Result<HostPort> ParseHostPort(std::string_view text, bool allow_port_zero) {
  if (text.find('\0') != std::string_view::npos)
    return InvalidArgument("an address with a zero byte");
  HostPort parsed;
  std::size_t colon;
  if (text.starts_with('[')) {
    std::size_t close = text.find(']');
    if (close == std::string_view::npos)
      return InvalidArgument("'{}' has a '[' without a ']'", text);
    parsed.host = text.substr(1, close - 1);
    if (!IsIpv6(parsed.host)) return InvalidArgument("'{}' is no IPv6 address", parsed.host);
    colon = close + 1;
    if (colon >= text.size() || text[colon] != ':')
      return InvalidArgument("'{}' has no port: write [address]:port", text);
  } else {
    colon = text.rfind(':');
    if (colon == std::string_view::npos)
      return InvalidArgument("'{}' has no port: write host:port", text);
    parsed.host = text.substr(0, colon);
    if (parsed.host.empty()) return InvalidArgument("'{}' has no host before its port", text);
    if (parsed.host.find(':') != std::string::npos)
      return InvalidArgument("'{}' is no host: write an IPv6 address in brackets, [::1]:port",
                             parsed.host);
    if (!IsIpv4(parsed.host) && !IsHostName(parsed.host))
      return InvalidArgument("'{}' is neither an IPv4 address nor a host name", parsed.host);
  }
  ASSIGN_OR_RETURN(parsed.port, ParsePort(text.substr(colon + 1), allow_port_zero));
  return parsed;
}

Result<StoreUrl> ParseStoreUrl(std::string_view text, bool allow_port_zero) {
  StoreUrl url;
  constexpr std::string_view kTcp = "tcp://", kEtcd = "etcd://";
  std::string_view rest;
  if (text.starts_with(kTcp)) {
    url.scheme = StoreUrl::Scheme::kTcp;
    rest = text.substr(kTcp.size());
  } else if (text.starts_with(kEtcd)) {
    url.scheme = StoreUrl::Scheme::kEtcd;
    rest = text.substr(kEtcd.size());
  } else {
    return InvalidArgument("store url '{}': it begins with neither tcp:// nor etcd://", text);
  }
  auto context = [&](const Status& status) {
    return status.WithContext(fmt::format("store url '{}'", text));
  };
  if (url.scheme == StoreUrl::Scheme::kTcp) {
    auto endpoint = ParseHostPort(rest, allow_port_zero);
    if (!endpoint.ok()) return context(endpoint.status());
    url.endpoints.push_back(*endpoint);
    return url;
  }
  std::size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view list = rest.substr(0, slash);
  url.prefix = rest.substr(slash);
  while (url.prefix.ends_with('/')) url.prefix.pop_back();
  if (url.prefix.size() > kMaxPrefixBytes)
    return context(InvalidArgument("its prefix has {} bytes; at most {} are allowed",
                                   url.prefix.size(), kMaxPrefixBytes));
  if (std::any_of(url.prefix.begin(), url.prefix.end(),
                  [](unsigned char c) { return c < ' ' || c == 0x7f; }))
    return context(InvalidArgument("its prefix has a control character"));
  for (std::size_t begin = 0; begin <= list.size();) {
    std::size_t end = std::min(list.find(',', begin), list.size());
    auto endpoint = ParseHostPort(list.substr(begin, end - begin));
    if (!endpoint.ok()) return context(endpoint.status());
    url.endpoints.push_back(*endpoint);
    begin = end + 1;
  }
  return url;
}

}  // namespace memfabric
