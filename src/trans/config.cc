#include "trans/config.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/nic.h"

namespace memfabric::trans {
namespace {

constexpr std::size_t kMaxNameBytes = 255;
constexpr std::chrono::seconds kPeerTimeout{5};
constexpr std::string_view kTcp = "tcp://";

bool IsOp(std::uint32_t op) { return op == 1 || op == 2 || op == 8 || op == 64 || op == 128; }

// "host" or "[v6]", no port behind it.
bool IsBareHost(std::string_view text) {
  return !text.empty() && !ParseHostPort(text).ok() &&
         ParseHostPort(fmt::format("{}:1", text)).ok();
}

}  // namespace

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kSender: return "Prefill";
    case Role::kReceiver: return "Decode";
    case Role::kBoth: return "Both";
    default: return "None";
  }
}

Status CheckName(const std::string& unique_id) {
  if (unique_id.empty() || unique_id.size() > kMaxNameBytes)
    return InvalidArgument("a unique_id has 1 to {} characters, this one {}", kMaxNameBytes,
                           unique_id.size());
  for (char c : unique_id) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f && c != '/') continue;
    return InvalidArgument("unique_id '{}' has a character that can't be in one: {:#04x}",
                           unique_id, byte);
  }
  return Ok();
}

Status Check(const EngineOptions& options) {
  RETURN_IF_ERROR(CheckName(options.unique_id));
  if (options.role == Role::kNone || options.role > Role::kBoth)
    return InvalidArgument(
        "role is {}; it must be 1 (sender, Prefill), 2 (receiver, Decode) or 3 (both)",
        static_cast<int>(options.role));
  if (!IsOp(options.op))
    return InvalidArgument(
        "data_op_type is {}; it must be SDMA 1, HOST_RDMA 2, DEVICE_RDMA 8, DEVICE_URMA 64 or "
        "DEVICE_UBOE 128",
        options.op);
  if (options.timeout < std::chrono::seconds(1))
    return InvalidArgument("the timeout is 0; it must be 1 s or more");
  if (auto nics = ParseNics(options.nic); !nics.ok()) return nics.status();
  return PlaceOf(options).status();
}

Result<EnginePlace> PlaceOf(const EngineOptions& options) {
  EnginePlace place;
  place.name = options.unique_id;
  std::string_view rest = options.store_url;
  if (rest.starts_with(kTcp)) rest.remove_prefix(kTcp.size());
  place.own_directory = options.store_url.empty() || rest == options.unique_id ||
                        (options.store_url.starts_with(kTcp) && IsBareHost(rest));
  if (!place.own_directory) {
    ASSIGN_OR_RETURN(place.url, ParseStoreUrl(options.store_url));
    return place;
  }
  place.needs_port = IsBareHost(options.unique_id);
  auto address = ParseHostPort(place.needs_port ? options.unique_id + ":1" : options.unique_id);
  if (!address.ok())
    return InvalidArgument(
        "store_url '{}' names no store to share, so the engine is found at its own address, and "
        "unique_id must be that, "
        "ip:port "
        "or a bare ip or host name: {}",
        options.store_url, address.status().message());
  place.url.endpoints = {*address};
  return place;
}

EnginePlace WithPort(EnginePlace place, std::uint16_t port) {
  place.url.endpoints.front().port = port;
  place.name = place.url.endpoints.front().ToString();
  place.needs_port = false;
  return place;
}

std::chrono::seconds PeerTimeout() {
  const char* text = std::getenv("MEMFABRIC_PEER_TIMEOUT");
  if (text == nullptr) return kPeerTimeout;
  std::string_view value(text);
  unsigned seconds = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  bool good =
      error == std::errc() && end == value.data() + value.size() && seconds >= 1 && seconds <= 3600;
  return good ? std::chrono::seconds(seconds) : kPeerTimeout;
}

}  // namespace memfabric::trans
