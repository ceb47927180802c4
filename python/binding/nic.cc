#include "nic.h"

#include <arpa/inet.h>
#include <memfabric/smem.h>
#include <net/if.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace memfabric::python {
namespace {

constexpr std::size_t kMaxBytes = SMEM_NIC_SIZE - 1;  // of smem_bm_config_t.hcomUrl

std::optional<int> Number(std::string_view digits, int low, int high) {
  int number = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || digits.front() == '-' || error != std::errc() ||
      end != digits.data() + digits.size())
    return {};
  if (number < low || number > high) return {};
  return number;
}

std::string Quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

std::string UrlError(std::string_view rest) {
  const bool six = rest.substr(0, 1) == "[";
  const std::size_t end = six ? rest.find(']') : std::min(rest.find_first_of("/:"), rest.size());
  if (end == std::string_view::npos) return "'[' without ']'";
  std::string_view address = rest.substr(six ? 1 : 0, end - (six ? 1 : 0));
  rest.remove_prefix(end + (six ? 1 : 0));
  // a zone: fe80::1%eth0
  std::string_view numbers = six ? address.substr(0, address.find('%')) : address;
  unsigned char bytes[sizeof(in6_addr)];
  if (inet_pton(six ? AF_INET6 : AF_INET, std::string(numbers).c_str(), bytes) != 1 ||
      address.substr(numbers.size()) == "%")
    return Quoted(address) + " is no IP address";
  if (rest.substr(0, 1) == "/") {
    std::string_view mask = rest.substr(1, std::min(rest.find(':'), rest.size()) - 1);
    rest.remove_prefix(1 + mask.size());
    if (!Number(mask, 0, six ? 128 : 32))
      return "the mask " + Quoted(mask) + " is not 0 to " + (six ? "128" : "32");
  }
  if (rest.empty()) return "";
  if (rest.front() != ':') return Quoted(rest) + " follows the address";
  return Number(rest.substr(1), 0, 65535)
             ? ""
             : "the port " + Quoted(rest.substr(1)) + " is not 0 to 65535";
}

std::string OneError(std::string_view nic) {
  constexpr std::string_view kScheme = "tcp://";
  if (nic.substr(0, kScheme.size()) == kScheme) return UrlError(nic.substr(kScheme.size()));
  if (nic.empty()) return "a comma has nothing before or behind it";
  if (nic.find_first_of("/: \t\r\n") != std::string_view::npos ||
      nic.find('\0') != std::string_view::npos)
    return "neither tcp://ip:port, tcp://ip/maskbits:port nor the name of an interface";
  if (nic.size() >= IFNAMSIZ)
    return "the name of an interface has at most " + std::to_string(IFNAMSIZ - 1) + " bytes";
  return "";
}

}  // namespace

std::string NicError(std::string_view nic) {
  if (nic.empty()) return "";
  if (nic.size() > kMaxBytes) {
    return "nic is " + std::to_string(nic.size()) + " bytes long, the limit is " +
           std::to_string(kMaxBytes);
  }
  for (std::size_t begin = 0; begin <= nic.size();) {
    const std::size_t end = std::min(nic.find(',', begin), nic.size());
    if (std::string error = OneError(nic.substr(begin, end - begin)); !error.empty())
      return "nic " + Quoted(nic) + ": " + error;
    begin = end + 1;
  }
  return "";
}

}  // namespace memfabric::python
