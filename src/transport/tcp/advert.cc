#include "transport/tcp/advert.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace memfabric::transport::tcp {
namespace {

constexpr std::string_view kVersion = "memfabric-tcp/1";
constexpr std::string_view kNone = "none: ";
constexpr std::size_t kMaxAdvertBytes = 1024;
constexpr std::size_t kMaxReasonBytes = 512;

bool IsNumeric(const std::string& host) {
  in6_addr address;
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool ParseKey(std::string_view text, PresharedKey& key) {
  if (text.size() != 2 * key.size()) return false;
  for (std::size_t i = 0; i < key.size(); ++i) {
    const char* digits = text.data() + 2 * i;
    auto [end, error] = std::from_chars(digits, digits + 2, key[i], 16);
    if (error != std::errc() || end != digits + 2) return false;
  }
  return true;
}

// What stands before the next blank; takes both off.
std::string_view NextWord(std::string_view& text) {
  std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

}  // namespace

std::string EncodeAdvert(const Advert& advert) {
  if (!advert.none.empty())
    return fmt::format("{} {}{}", kVersion, kNone, advert.none.substr(0, kMaxReasonBytes));
  std::string key;
  for (unsigned char byte : advert.key) key += fmt::format("{:02x}", byte);
  return fmt::format("{} address={} encrypt={} key={}", kVersion, advert.address.ToString(),
                     advert.encrypt ? 1 : 0, key);
}

Result<Advert> ParseAdvert(std::string_view text) {
  auto bad = [](std::string_view what) {
    return InvalidArgument("no address of a tcp port: {}", what);
  };
  if (text.size() > kMaxAdvertBytes) return bad("it is too long");
  if (std::any_of(text.begin(), text.end(), [](char c) { return c < 0x20 || c == 0x7f; }))
    return bad("it isn't text");
  if (text.empty() || text.back() == ' ') return bad("it ends in nothing");
  if (std::string_view version = NextWord(text); version != kVersion) {
    return bad(fmt::format("it begins with \"{}\", not with \"{}\"", version, kVersion));
  }
  if (text.starts_with(kNone))
    return Unsupported("it has no data port: {}", text.substr(kNone.size()));
  Advert advert;
  int addresses = 0, encrypts = 0, keys = 0;
  while (!text.empty()) {
    std::string_view value = NextWord(text);
    std::string_view name = value.substr(0, value.find('='));
    if (name.empty() || name.size() == value.size())
      return bad("a field without a name or a value");
    value.remove_prefix(name.size() + 1);
    if (name == "address") {
      auto address = ParseHostPort(value);
      if (!address.ok() || !IsNumeric(address->host) || ++addresses > 1) return bad("its address");
      advert.address = *std::move(address);
    } else if (name == "encrypt") {
      if ((value != "0" && value != "1") || ++encrypts > 1) return bad("its field \"encrypt\"");
      advert.encrypt = value == "1";
    } else if (name == "key") {
      if (!ParseKey(value, advert.key) || ++keys > 1) return bad("its key");
    }
  }
  if (addresses + encrypts + keys != 3) return bad("a field is missing");
  return advert;
}

}  // namespace memfabric::transport::tcp
