#include "nic.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <charconv>
#include <optional>

namespace memfabric::python {
namespace {

constexpr std::size_t kMaxBytes = 63;  // smem_bm_config_t.hcomUrl

std::optional<int> Number(std::string_view digits, int low, int high) {
  int number = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || digits.front() == '-' || error != std::errc() || end != digits.data() + digits.size()) return {};
  if (number < low || number > high) return {};
  return number;
}

std::string Quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

std::string UrlError(std::string_view rest) {
  std::size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || (!rest.empty() && rest.back() == ']')) return "the port is missing";
  std::string_view address = rest.substr(0, colon);
  std::string_view port = rest.substr(colon + 1);
  if (!Number(port, 1, 65535)) return "the port " + Quoted(port) + " is not 1 to 65535";

  std::optional<std::string_view> mask;
  if (std::size_t slash = address.rfind('/'); slash != std::string_view::npos) {
    mask = address.substr(slash + 1);
    address = address.substr(0, slash);
  }
  bool six = address.size() >= 2 && address.front() == '[' && address.back() == ']';
  if (six) address = address.substr(1, address.size() - 2);
  unsigned char bytes[sizeof(in6_addr)];
  if (inet_pton(six ? AF_INET6 : AF_INET, std::string(address).c_str(), bytes) != 1) {
    return Quoted(address) + " is no IP address";
  }
  if (mask && !Number(*mask, 0, six ? 128 : 32)) return "the mask " + Quoted(*mask) + " is not 0 to " + (six ? "128" : "32");
  return "";
}

}  // namespace

std::string NicError(std::string_view nic) {
  constexpr std::string_view kScheme = "tcp://";
  if (nic.size() > kMaxBytes) {
    return "nic is " + std::to_string(nic.size()) + " bytes long, the limit is " + std::to_string(kMaxBytes);
  }
  std::string error;
  if (nic.substr(0, kScheme.size()) == kScheme) {
    error = UrlError(nic.substr(kScheme.size()));
  } else if (nic.find_first_of("/: \t\r\n") != std::string_view::npos || nic.find('\0') != std::string_view::npos) {
    error = "neither tcp://ip:port, tcp://ip/maskbits:port nor the name of an interface";
  } else if (nic.size() >= IFNAMSIZ) {
    error = "the name of an interface has at most " + std::to_string(IFNAMSIZ - 1) + " bytes";
  }
  return error.empty() ? "" : "nic " + Quoted(nic) + ": " + error;
}

}  // namespace memfabric::python
