#include "bm/config.h"

#include <array>
#include <bit>

#include "base/nic.h"
#include "base/url.h"

namespace memfabric::bm {
namespace {

constexpr std::uint32_t kHighestPort = 65535;
constexpr std::int64_t kMaxTimeout = 0xffff'ffff;
constexpr std::uint32_t kAllOps = 1 | 2 | 4 | 8 | 16 | 32 | 64 | 128;

Status CheckTimeout(std::string_view name, std::chrono::seconds timeout) {
  if (timeout.count() >= 1 && timeout.count() <= kMaxTimeout) return Ok();
  return InvalidArgument("{} is {} s; it must be from 1 to {}", name, timeout.count(), kMaxTimeout);
}

Status CheckSize(std::string_view name, std::uint64_t bytes, std::uint64_t most) {
  if (!IsMultipleOf(bytes, kSizeUnit))
    return InvalidArgument(
        "{} is {} bytes, which is no multiple of {}; the next ones are {} and {}", name, bytes,
        SizeText(kSizeUnit), bytes / kSizeUnit * kSizeUnit, (bytes / kSizeUnit + 1) * kSizeUnit);
  if (bytes > most)
    return InvalidArgument("{} is {}; the most that a rank may give is {}", name, SizeText(bytes),
                           SizeText(most));
  return Ok();
}

Status CheckNic(std::string_view text, std::uint32_t world_size) {
  ASSIGN_OR_RETURN(const auto nics, ParseNics(text));
  for (const Nic& nic : nics) {
    if (nic.port == 0 || nic.port + world_size - 1 <= kHighestPort) continue;
    return InvalidArgument(
        "nic '{}': rank r listens at {} + r, so with world_size {} its port may be {} at most",
        text, nic.port, world_size, kHighestPort - (world_size - 1));
  }
  return Ok();
}

}  // namespace

Status Check(const InitOptions& options) {
  auto url = ParseStoreUrl(options.store_url);
  RETURN_IF_ERROR(url.ok() ? Ok() : url.status());
  if (options.world_size < 1 || options.world_size > kMaxWorldSize)
    return InvalidArgument("world_size is {}; it must be from 1 to {}", options.world_size,
                           kMaxWorldSize);
  const Config& config = options.config;
  RETURN_IF_ERROR(CheckTimeout("init_timeout", config.init_timeout));
  RETURN_IF_ERROR(CheckTimeout("create_timeout", config.create_timeout));
  RETURN_IF_ERROR(CheckTimeout("operation_timeout", config.operation_timeout));
  if (!config.unified_address_space)
    return InvalidArgument(
        "unified_address_space is False; only True is supported: the pool has one address space");
  if (!config.auto_ranking && config.rank != kUnsetRank && config.rank >= options.world_size)
    return InvalidArgument("rank_id is {}; with world_size {} it must be from 0 to {}", config.rank,
                           options.world_size, options.world_size - 1);
  return CheckNic(config.nic, options.world_size);
}

Status Check(const CreateOptions& options) {
  if (options.id > kMaxPoolId)
    return InvalidArgument("id is {}; it must be from 0 to {}", options.id, kMaxPoolId);
  if (!std::has_single_bit(options.op) || (options.op & kAllOps) == 0)
    return InvalidArgument("data_op_type is {}; it must be one of BmDataOpType's values",
                           options.op);
  constexpr std::array<const char*, kZones> kLocal{"local_hbm_size", "local_dram_size"};
  constexpr std::array<const char*, kZones> kMax{"max_hbm_size", "max_dram_size"};
  constexpr std::array<std::uint64_t, kZones> kMost{kMaxDeviceBytes, kMaxHostBytes};
  for (Zone zone : kAllZones) {
    auto i = Index(zone);
    RETURN_IF_ERROR(CheckSize(kLocal[i], options.local_bytes[i], kMost[i]));
    if (options.max_from_pool) continue;
    RETURN_IF_ERROR(CheckSize(kMax[i], options.max_bytes[i], kMost[i]));
    if (options.local_bytes[i] > options.max_bytes[i])
      return InvalidArgument("{} is {}, more than {}, which is {}", kLocal[i],
                             SizeText(options.local_bytes[i]), kMax[i],
                             SizeText(options.max_bytes[i]));
  }
  if (!options.max_from_pool && options.max_bytes[0] == 0 && options.max_bytes[1] == 0)
    return InvalidArgument("max_dram_size and max_hbm_size are both 0: the pool would be empty");
  if ((options.flags & CreateFlags::kBackedByFd) != 0 && options.shm_fd < 0)
    return InvalidArgument("flags ask for DRAM backed by shm_fd (bit 8), and shm_fd is {}",
                           options.shm_fd);
  return Ok();
}

}  // namespace memfabric::bm
