// bm/config.h: what callers say to the Big Memory service, checked at the boundary of the service.
// Values; any thread.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "address/global_address.h"
#include "base/status.h"
#include "base/units.h"
#include "store/tls/settings.h"

namespace memfabric::bm {

// docs/contract/python.md §2.
constexpr std::uint32_t kUnsetRank = 65535;
constexpr std::uint32_t kMaxPoolId = 63;
constexpr std::uint32_t kPools = kMaxPoolId + 1;
constexpr std::uint64_t kMaxHostBytes = 2_TiB;     // a rank
constexpr std::uint64_t kMaxDeviceBytes = 64_GiB;  // a rank
constexpr std::uint64_t kSizeUnit = 2_MiB;

struct Config {
  std::chrono::seconds init_timeout{120};
  std::chrono::seconds create_timeout{120};
  std::chrono::seconds operation_timeout{120};
  bool start_store = true;
  bool start_store_only = false;
  bool dynamic_world_size = false;
  bool unified_address_space = true;
  bool auto_ranking = false;
  std::uint32_t rank = kUnsetRank;
  std::uint32_t flags = 0;
  std::string nic;             // as base/nic.h; a port is the first of a range
  bool data_tls = false;       // encrypt between hosts
  store::TlsConfig store_tls;  // not enabled: what the process's settings say

  bool operator==(const Config&) const = default;
};

struct InitOptions {
  std::string store_url;
  std::uint32_t world_size = 0;
  std::uint16_t device_id = 0;
  Config config;

  bool operator==(const InitOptions&) const = default;
};

// Flags of create (docs/contract/abi.md §3).
struct CreateFlags {
  static constexpr std::uint32_t kNumaMask = 0x7f;
  static constexpr std::uint32_t kNumaAutomatic = 127;
  static constexpr std::uint32_t kPerformance = 1u << 7;
  static constexpr std::uint32_t kBackedByFd = 1u << 8;
  static constexpr std::uint32_t kMapAtHostAddress = 1u << 9;  // a hint; ours always are
  static constexpr std::uint32_t kBestEffort = 1u << 10;       // a hint
};

struct CreateOptions {
  std::uint32_t id = 0;
  std::uint32_t op = 1;  // BmDataOpType
  std::array<std::uint64_t, kZones> local_bytes{};
  std::array<std::uint64_t, kZones> max_bytes{};
  bool max_from_pool = false;  // create(): the pool's max is what its first contributing rank gave
  bool numbers_only = false;   // 56-bit addresses
  std::uint32_t flags = 0;
  int shm_fd = -1;
  std::string tag;
};

// InvalidArgument names the value and the limit.
Status Check(const InitOptions& options);
Status Check(const CreateOptions& options);

}  // namespace memfabric::bm
