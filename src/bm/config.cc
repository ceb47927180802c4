#include "bm/config.h"

#include <array>
#include <bit>
#include <charconv>

#include "base/url.h"

namespace memfabric::bm {
namespace {

constexpr std::size_t kMaxNicBytes = 63;
constexpr std::size_t kMaxInterfaceBytes = 15;  // IFNAMSIZ - 1
constexpr std::int64_t kMaxTimeout = 0xffff'ffff;
constexpr std::uint32_t kAllOps = 1 | 2 | 4 | 8 | 16 | 32 | 64 | 128;

Status CheckTimeout(std::string_view name, std::chrono::seconds timeout) {
  if (timeout.count() >= 1 && timeout.count() <= kMaxTimeout) return Ok();
  return InvalidArgument("{} is {} s; it must be from 1 to {}", name, timeout.count(), kMaxTimeout);
}

Status CheckSize(std::string_view name, std::uint64_t bytes, std::uint64_t most) {
  if (!IsMultipleOf(bytes, kSizeUnit))
    return InvalidArgument("{} is {} bytes, which is no multiple of {}; the next ones are {} and {}", name, bytes,
                           SizeText(kSizeUnit), bytes / kSizeUnit * kSizeUnit, (bytes / kSizeUnit + 1) * kSizeUnit);
  if (bytes > most)
    return InvalidArgument("{} is {}; the most that a rank may give is {}", name, SizeText(bytes), SizeText(most));
  return Ok();
}

}  // namespace

Status CheckNic(const std::string& nic) {
  if (nic.empty()) return Ok();
  if (nic.size() > kMaxNicBytes) return InvalidArgument("nic '{}' has {} bytes; at most {} fit", nic, nic.size(), kMaxNicBytes);
  constexpr std::string_view kTcp = "tcp://";
  if (!nic.starts_with(kTcp)) {
    bool name = nic.size() <= kMaxInterfaceBytes && nic.find_first_of("/: \t\n") == std::string::npos;
    if (name) return Ok();
    return InvalidArgument("nic '{}' is neither tcp://ip:port, tcp://ip/maskbits:port nor the name of an interface", nic);
  }
  std::string rest = nic.substr(kTcp.size());
  if (std::size_t slash = rest.find('/'); slash != std::string::npos) {
    std::size_t colon = rest.find(':', slash);
    std::string bits = rest.substr(slash + 1, (colon == std::string::npos ? rest.size() : colon) - slash - 1);
    unsigned value = 0;
    unsigned most = rest.find(':') < slash ? 128 : 32;
    auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), value);
    if (bits.empty() || error != std::errc() || end != bits.data() + bits.size() || value > most)
      return InvalidArgument("nic '{}': its mask '{}' is no number of bits from 0 to {}", nic, bits, most);
    rest.erase(slash, (colon == std::string::npos ? rest.size() : colon) - slash);
  }
  auto parsed = ParseHostPort(rest, /*allow_port_zero=*/true);
  if (!parsed.ok()) return parsed.status().WithContext(fmt::format("nic '{}'", nic));
  return Ok();
}

Status Check(const InitOptions& options) {
  auto url = ParseStoreUrl(options.store_url);
  RETURN_IF_ERROR(url.ok() ? Ok() : url.status());
  if (options.world_size < 1 || options.world_size > kMaxWorldSize)
    return InvalidArgument("world_size is {}; it must be from 1 to {}", options.world_size, kMaxWorldSize);
  const Config& config = options.config;
  RETURN_IF_ERROR(CheckTimeout("init_timeout", config.init_timeout));
  RETURN_IF_ERROR(CheckTimeout("create_timeout", config.create_timeout));
  RETURN_IF_ERROR(CheckTimeout("operation_timeout", config.operation_timeout));
  if (!config.unified_address_space)
    return InvalidArgument("unified_address_space is False; only True is supported: the pool has one address space");
  if (!config.auto_ranking && config.rank != kUnsetRank && config.rank >= options.world_size)
    return InvalidArgument("rank_id is {}; with world_size {} it must be from 0 to {}", config.rank, options.world_size,
                           options.world_size - 1);
  return CheckNic(config.nic);
}

Status Check(const CreateOptions& options) {
  if (options.id > kMaxPoolId) return InvalidArgument("id is {}; it must be from 0 to {}", options.id, kMaxPoolId);
  if (!std::has_single_bit(options.op) || (options.op & kAllOps) == 0)
    return InvalidArgument("data_op_type is {}; it must be one of BmDataOpType's values", options.op);
  constexpr std::array<const char*, kZones> kLocal{"local_hbm_size", "local_dram_size"};
  constexpr std::array<const char*, kZones> kMax{"max_hbm_size", "max_dram_size"};
  constexpr std::array<std::uint64_t, kZones> kMost{kMaxDeviceBytes, kMaxHostBytes};
  for (Zone zone : kAllZones) {
    auto i = Index(zone);
    RETURN_IF_ERROR(CheckSize(kLocal[i], options.local_bytes[i], kMost[i]));
    if (options.max_from_pool) continue;
    RETURN_IF_ERROR(CheckSize(kMax[i], options.max_bytes[i], kMost[i]));
    if (options.local_bytes[i] > options.max_bytes[i])
      return InvalidArgument("{} is {}, more than {}, which is {}", kLocal[i], SizeText(options.local_bytes[i]), kMax[i],
                             SizeText(options.max_bytes[i]));
  }
  if (!options.max_from_pool && options.max_bytes[0] == 0 && options.max_bytes[1] == 0)
    return InvalidArgument("max_dram_size and max_hbm_size are both 0: the pool would be empty");
  if ((options.flags & CreateFlags::kBackedByFd) != 0 && options.shm_fd < 0)
    return InvalidArgument("flags ask for DRAM backed by shm_fd (bit 8), and shm_fd is {}", options.shm_fd);
  return Ok();
}

}  // namespace memfabric::bm
