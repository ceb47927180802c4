// shm/config.h: what callers say to the Shared Memory service, checked at its boundary. Values; any
// thread.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "address/global_address.h"
#include "base/status.h"
#include "base/units.h"

namespace memfabric::shm {

// docs/contract/python.md §3.
constexpr std::uint32_t kMaxObjectId = 63;
constexpr std::uint32_t kObjects = kMaxObjectId + 1;
constexpr std::uint64_t kSizeUnit = 2_MiB;
constexpr std::uint64_t kMaxSymmetricBytes = 64_GiB;
constexpr std::uint64_t kMaxContextBytes = 64_KiB;
constexpr std::uint64_t kMaxKeyBytes = 128;  // of a sub-group

// ShmDataOpType, and the bits of what reaches a rank. The values are the C ABI's.
struct DataOp {
  static constexpr std::uint32_t kLoadStore = 1;   // MTE
  static constexpr std::uint32_t kCopyEngine = 2;  // SDMA: put, get, atomics of this library
  static constexpr std::uint32_t kRdma = 4;
  static constexpr std::uint32_t kAll = 7;
};

struct Config {
  std::chrono::seconds init_timeout{120};
  std::chrono::seconds create_timeout{120};
  std::chrono::seconds operation_timeout{120};
  bool start_store = true;
  std::uint32_t flags = 0;

  bool operator==(const Config&) const = default;
};

struct InitOptions {
  std::string store_url;
  std::uint32_t world_size = 0;
  Rank rank = 0;
  std::uint16_t device_id = 0;
  Config config;

  bool operator==(const InitOptions&) const = default;
};

struct CreateOptions {
  std::uint32_t id = 0;
  std::uint32_t rank_size = 0;
  Rank rank = 0;  // in the object; may differ from the process's
  std::uint64_t bytes = 0;
  // bits; with several of them, any will do, and unknown ones are hints
  std::uint32_t op = DataOp::kLoadStore;
  std::uint32_t flags = 0;
};

// InvalidArgument names the value and the limit.
Status Check(const InitOptions& options);
Status Check(const CreateOptions& options);
// against what initialize was told
Status Check(const CreateOptions& options, std::uint32_t world_size);
Status CheckKey(const std::string& key);

}  // namespace memfabric::shm
