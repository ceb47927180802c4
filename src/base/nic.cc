#include "base/nic.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/addresses.h"

namespace memfabric {
namespace {

constexpr std::string_view kScheme = "tcp://";
constexpr std::size_t kMaxBytes = 63;           // smem_bm_config_t.hcomUrl
constexpr std::size_t kMaxInterfaceBytes = 15;  // IFNAMSIZ - 1

std::optional<unsigned> Number(std::string_view digits, unsigned highest) {
  unsigned number = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() ||
      number > highest)
    return std::nullopt;
  return number;
}

Status ParseUrl(std::string_view rest, Nic& nic) {
  const bool six = rest.starts_with('[');
  std::size_t end = six ? rest.find(']') : std::min(rest.find_first_of("/:"), rest.size());
  if (end == std::string_view::npos) return InvalidArgument("it has a '[' without a ']'");
  nic.host = rest.substr(six ? 1 : 0, end - (six ? 1 : 0));
  rest.remove_prefix(end + (six ? 1 : 0));
  const unsigned bits = six ? 128 : 32;
  if (AddressBytes(nic.host).size() * 8 != bits || (six && nic.host.ends_with('%')))
    return InvalidArgument("'{}' is no numeric {} address", nic.host, six ? "IPv6" : "IPv4");
  nic.mask_bits = bits;
  if (rest.starts_with('/')) {
    std::string_view mask = rest.substr(1, std::min(rest.find(':'), rest.size()) - 1);
    rest.remove_prefix(1 + mask.size());
    auto number = Number(mask, bits);
    if (!number.has_value())
      return InvalidArgument("its mask '{}' is no number of mask bits from 0 to {}", mask, bits);
    nic.mask_bits = *number;
  }
  if (rest.starts_with(':')) {
    auto number = Number(rest.substr(1), 65535);
    if (!number.has_value())
      return InvalidArgument("its port '{}' is no number from 0 to 65535", rest.substr(1));
    nic.port = static_cast<std::uint16_t>(*number);
  } else if (!rest.empty()) {
    return InvalidArgument("'{}' follows the address where :port may", rest);
  }
  if (IsAnyHost(nic.host) || nic.mask_bits == 0) nic.host.clear();
  return Ok();
}

Status ParseOne(std::string_view text, Nic& nic) {
  nic.text = text;
  if (text.starts_with(kScheme)) return ParseUrl(text.substr(kScheme.size()), nic);
  if (text.empty()) return InvalidArgument("a comma has nothing before or behind it");
  if (std::ranges::any_of(
          text, [](unsigned char c) { return c <= ' ' || c == 0x7f || c == '/' || c == ':'; }))
    return InvalidArgument(
        "'{}' is neither tcp://ip:port, tcp://ip/maskbits:port nor the name of an interface", text);
  if (text.size() > kMaxInterfaceBytes)
    return InvalidArgument("the name of an interface has at most {} bytes, '{}' has {}",
                           kMaxInterfaceBytes, text, text.size());
  nic.interface = text;
  return Ok();
}

}  // namespace

Result<std::vector<Nic>> ParseNics(std::string_view text) {
  std::vector<Nic> nics;
  if (text.empty()) return nics;
  if (text.size() > kMaxBytes)
    return InvalidArgument("nic '{}' is {} bytes long, the limit is {}", text, text.size(),
                           kMaxBytes);
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    Nic nic;
    if (Status parsed = ParseOne(text.substr(begin, end - begin), nic); !parsed.ok())
      return parsed.WithContext(fmt::format("nic '{}'", text));
    nics.push_back(std::move(nic));
    begin = end + 1;
  }
  return nics;
}

}  // namespace memfabric
