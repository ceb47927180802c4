// The functions of smem_bm.h: check arguments, call, map.

#include <memfabric/smem_bm.h>

#include <algorithm>
#include <cstring>

#include "capi/boundary.h"
#include "capi/config_fields.h"
#include "capi/hints.h"
#include "capi/library.h"

namespace {

using memfabric::InvalidArgument;
using memfabric::Ok;
using memfabric::Result;
using memfabric::Status;
using memfabric::Zone;
using memfabric::capi::Guard;
using memfabric::capi::GuardMove;
using memfabric::capi::GuardQuestion;
using memfabric::capi::GuardValue;
using memfabric::capi::GuardWait;
using memfabric::capi::Library;
using memfabric::capi::Pools;
using memfabric::capi::Text;
using memfabric::capi::ValueOr;
using memfabric::capi::WithoutHints;
namespace bm = memfabric::bm;
namespace copy = memfabric::copy;

constexpr std::uint32_t kCopyFlags = SMEM_BM_COPY_ASYNC | SMEM_BM_COPY_EXTEND | SMEM_BM_COPY_STREAM;

Pools::Handle HandleOf(smem_bm_t pool) { return reinterpret_cast<std::uintptr_t>(pool); }

Result<Zone> ZoneOf(smem_bm_mem_type type) {
  switch (type) {
    case SMEM_MEM_TYPE_LOCAL_DEVICE:
    case SMEM_MEM_TYPE_DEVICE: return Zone::kDevice;
    case SMEM_MEM_TYPE_LOCAL_HOST:
    case SMEM_MEM_TYPE_HOST: return Zone::kHost;
    default:
      return InvalidArgument(
          "mem_type {} is none of LOCAL_DEVICE 0, LOCAL_HOST 1, DEVICE 2, HOST 3",
          static_cast<int>(type));
  }
}

Result<copy::Direction> DirectionOf(smem_bm_copy_type type) {
  if (type < SMEMB_COPY_L2G || type > SMEMB_COPY_AUTO)
    return InvalidArgument("copy type {} is none of BmCopyType's, 0 to 9", static_cast<int>(type));
  return static_cast<copy::Direction>(type);
}

bm::CopyOptions OptionsOf(std::uint32_t flags) {
  flags = WithoutHints("flags", flags, kCopyFlags);
  // Without devices there are no device streams to keep an order with: what is asked for on one is
  // done at once.
  return bm::CopyOptions{.asynchronous = (flags & SMEM_BM_COPY_ASYNC) != 0};
}

bm::InitOptions InitOptionsOf(const char* url, std::uint32_t world_size, std::uint16_t device,
                              const smem_bm_config_t& config) {
  bm::InitOptions options;
  options.store_url = url;
  options.world_size = world_size;
  options.device_id = device;
  options.config.init_timeout = std::chrono::seconds(config.initTimeout);
  options.config.create_timeout = std::chrono::seconds(config.createTimeout);
  options.config.operation_timeout = std::chrono::seconds(config.controlOperationTimeout);
  options.config.start_store = config.startConfigStoreServer;
  options.config.start_store_only = config.startConfigStoreOnly;
  options.config.dynamic_world_size = config.dynamicWorldSize;
  options.config.unified_address_space = config.unifiedAddressSpace;
  options.config.auto_ranking = config.autoRanking;
  options.config.rank = config.rankId;
  options.config.flags = config.flags;
  options.config.nic = Text(config.hcomUrl);
  options.config.data_tls = config.hcomTlsConfig.tlsEnable;
  if (config.storeTlsConfig.tlsEnable)
    options.config.store_tls = memfabric::capi::TlsConfigOf(config.storeTlsConfig);
  return options;
}

smem_bm_t Create(const bm::CreateOptions& options, const char* function = __builtin_FUNCTION()) {
  return GuardValue<smem_bm_t>(
      nullptr,
      [&]() -> Result<smem_bm_t> {
        ASSIGN_OR_RETURN(auto handle, Library::Instance().CreatePool(options));
        return reinterpret_cast<smem_bm_t>(handle);
      },
      function);
}

// The rank that the first of the copies is with, to tell failures apart.
std::string PeerOf(Pools::Handle handle, const copy::BatchRequest& batch) {
  memfabric::Rank rank = memfabric::kNoRank;
  (void)Library::Instance().pools().With(handle, [&](bm::Pool& pool) {
    rank = pool.RankOf(batch.destinations.front());
    if (rank == memfabric::kNoRank) rank = pool.RankOf(batch.sources.front());
    return Ok();
  });
  return fmt::format("{:x} {}", handle, rank);
}

// `copy(pool)` inside the gate.
template <typename Copy>
Status CopyOrLink(Pools::Handle handle, const copy::BatchRequest& batch, Copy&& copy) {
  Library& library = Library::Instance();
  return bm::CopyOrLink(
      batch, [&] { return library.pools().With(handle, copy); },
      [&](auto&& link) { return library.WithPool(handle, link); });
}

}  // namespace

extern "C" {

int32_t smem_bm_config_init(smem_bm_config_t* config) {
  return Guard([&]() -> Status {
    if (config == nullptr) return InvalidArgument("config is null");
    bm::Config defaults;
    std::memset(config, 0, sizeof(*config));
    config->initTimeout = static_cast<uint32_t>(defaults.init_timeout.count());
    config->createTimeout = static_cast<uint32_t>(defaults.create_timeout.count());
    config->controlOperationTimeout = static_cast<uint32_t>(defaults.operation_timeout.count());
    config->startConfigStoreServer = defaults.start_store;
    config->startConfigStoreOnly = defaults.start_store_only;
    config->dynamicWorldSize = defaults.dynamic_world_size;
    config->unifiedAddressSpace = defaults.unified_address_space;
    config->autoRanking = defaults.auto_ranking;
    config->rankId = defaults.rank;
    config->flags = defaults.flags;
    return Ok();
  });
}

int32_t smem_bm_init(const char* url, uint32_t world_size, uint16_t device,
                     const smem_bm_config_t* config) {
  return Guard([&]() -> Status {
    if (url == nullptr) return InvalidArgument("url is null");
    if (config == nullptr) return InvalidArgument("config is null");
    return Library::Instance().OpenBm(InitOptionsOf(url, world_size, device, *config));
  });
}

void smem_bm_uninit(uint32_t) {
  Guard([] {
    Library::Instance().CloseBm();
    return Ok();
  });
}

uint32_t smem_bm_get_rank_id(void) {
  return ValueOr<uint32_t>(SMEM_BM_RANK_NONE, []() -> Result<uint32_t> {
    auto rank = Library::Instance().bm().With(
        [](bm::Service& service) -> Result<uint32_t> { return service.rank(); });
    return rank.ok() ? *rank : SMEM_BM_RANK_NONE;  // not initialized: no error
  });
}

smem_bm_t smem_bm_create(uint32_t id, uint32_t member_size, smem_bm_data_op_type op, uint64_t dram,
                         uint64_t hbm, uint32_t flags) {
  if (member_size > memfabric::kMaxWorldSize) {
    Guard([&]() -> Status {
      return InvalidArgument("member_size is {}; at most {} ranks fit", member_size,
                             memfabric::kMaxWorldSize);
    });
    return nullptr;
  }
  bm::CreateOptions options;
  options.id = id;
  options.op = static_cast<uint32_t>(op);
  options.local_bytes = {hbm, dram};
  options.max_from_pool = true;
  // there is no way to pass one here
  options.flags = flags & ~static_cast<uint32_t>(SMEM_BM_CREATE_SHM_FD);
  return Create(options);
}

smem_bm_t smem_bm_create2(uint32_t id, const smem_bm_create_option_t* option) {
  if (option == nullptr) {
    Guard([]() -> Status { return InvalidArgument("option is null"); });
    return nullptr;
  }
  bm::CreateOptions options;
  options.id = id;
  options.op = static_cast<uint32_t>(option->dataOpType);
  options.local_bytes = {option->localHBMSize, option->localDRAMSize};
  options.max_bytes = {option->maxHbmSize, option->maxDramSize};
  options.numbers_only = option->enable56BitsGva;
  options.flags = option->flags;
  options.shm_fd = (option->flags & SMEM_BM_CREATE_SHM_FD) != 0 ? option->dramShmFd : -1;
  options.tag = Text(option->tag);
  return Create(options);
}

void smem_bm_destroy(smem_bm_t pool) {
  Guard([&] {
    if (pool != nullptr) (void)Library::Instance().pools().Remove(HandleOf(pool));
    return Ok();
  });
}

int32_t smem_bm_join(smem_bm_t pool, uint32_t) {
  return Guard([&] {
    return Library::Instance().WithPool(HandleOf(pool),
                                        [](bm::Pool& found) { return found.Join(); });
  });
}

int32_t smem_bm_leave(smem_bm_t pool, uint32_t) {
  return Guard([&] {
    return Library::Instance().WithPool(HandleOf(pool),
                                        [](bm::Pool& found) { return found.Leave(); });
  });
}

int32_t smem_bm_extend_local_mem(smem_bm_t pool, smem_bm_mem_type mem_type, uint64_t size) {
  return Guard([&]() -> Status {
    ASSIGN_OR_RETURN(auto zone, ZoneOf(mem_type));
    if (size == 0) return InvalidArgument("size is 0: there is nothing to add");
    return Library::Instance().WithPool(HandleOf(pool),
                                        [&](bm::Pool& found) { return found.Extend(zone, size); });
  });
}

uint64_t smem_bm_get_local_mem_size_by_mem_type(smem_bm_t pool, smem_bm_mem_type mem_type) {
  return ValueOr<uint64_t>(0, [&]() -> Result<uint64_t> {
    ASSIGN_OR_RETURN(auto zone, ZoneOf(mem_type));
    uint64_t bytes = 0;
    RETURN_IF_ERROR(Library::Instance().pools().With(HandleOf(pool), [&](bm::Pool& found) {
      bytes = found.LocalBytes(zone);
      return Ok();
    }));
    return bytes;
  });
}

void* smem_bm_ptr_by_mem_type(smem_bm_t pool, smem_bm_mem_type mem_type, uint16_t rank) {
  return ValueOr<void*>(nullptr, [&]() -> Result<void*> {
    ASSIGN_OR_RETURN(auto zone, ZoneOf(mem_type));
    uint64_t address = 0;
    RETURN_IF_ERROR(Library::Instance().pools().With(HandleOf(pool), [&](bm::Pool& found) {
      address = found.SlotAddress(zone, rank);
      return Ok();
    }));
    return reinterpret_cast<void*>(address);
  });
}

int32_t smem_bm_gva_to_va(smem_bm_t pool, void* gva, smem_bm_mem_type mem_type, void** va) {
  return GuardQuestion([&]() -> Status {
    if (va == nullptr) return InvalidArgument("va is null");
    if (gva == nullptr) return InvalidArgument("gva is null");
    RETURN_IF_ERROR(ZoneOf(mem_type).status());
    return Library::Instance().pools().With(HandleOf(pool), [&](bm::Pool& found) -> Status {
      ASSIGN_OR_RETURN(auto* local, found.Translate(reinterpret_cast<uintptr_t>(gva)));
      *va = local;
      return Ok();
    });
  });
}

int32_t smem_bm_copy(smem_bm_t pool, smem_copy_params* params, smem_bm_copy_type type,
                     uint32_t flags) {
  copy::CopyRequest request{};
  copy::BatchRequest one{{&request.source, 1}, {&request.destination, 1}, {&request.size_bytes, 1}};
  return GuardMove(
      [&]() -> Status {
        if (params == nullptr) return InvalidArgument("params is null");
        ASSIGN_OR_RETURN(auto direction, DirectionOf(type));
        bm::CopyOptions options = OptionsOf(flags);
        request = {reinterpret_cast<uintptr_t>(params->src),
                   reinterpret_cast<uintptr_t>(params->dest), params->dataSize};
        RETURN_IF_ERROR(copy::CheckNotNull(request));
        return CopyOrLink(HandleOf(pool), one,
                          [&](bm::Pool& found) { return found.Copy(request, direction, options); });
      },
      [&] { return PeerOf(HandleOf(pool), one); });
}

int32_t smem_bm_copy_batch(smem_bm_t pool, smem_batch_copy_params* params, smem_bm_copy_type type,
                           uint32_t flags) {
  copy::BatchRequest batch;
  return GuardMove(
      [&]() -> Status {
        if (params == nullptr) return InvalidArgument("params is null");
        if (params->batchSize == 0)
          return InvalidArgument("batchSize is 0: there is nothing to copy");
        if (params->sources == nullptr || params->destinations == nullptr ||
            params->dataSizes == nullptr)
          return InvalidArgument("a list is null: sources {}, destinations {}, dataSizes {}",
                                 static_cast<const void*>(params->sources),
                                 static_cast<const void*>(params->destinations),
                                 static_cast<const void*>(params->dataSizes));
        ASSIGN_OR_RETURN(auto direction, DirectionOf(type));
        bm::CopyOptions options = OptionsOf(flags);
        static_assert(sizeof(void*) == sizeof(uint64_t));
        batch = {{reinterpret_cast<const uint64_t*>(params->sources), params->batchSize},
                 {reinterpret_cast<const uint64_t*>(params->destinations), params->batchSize},
                 {params->dataSizes, params->batchSize}};
        return CopyOrLink(HandleOf(pool), batch, [&](bm::Pool& found) {
          return found.CopyBatch(batch, direction, options);
        });
      },
      [&] { return batch.sizes_bytes.empty() ? std::string() : PeerOf(HandleOf(pool), batch); });
}

int32_t smem_bm_wait(smem_bm_t pool) {
  return GuardWait([&] {
    return Library::Instance().WithPool(HandleOf(pool),
                                        [](bm::Pool& found) { return found.WaitQueued(); });
  });
}

int32_t smem_bm_register_user_mem(smem_bm_t pool, uint64_t addr, uint64_t size) {
  return Guard([&]() -> Status {
    RETURN_IF_ERROR(bm::CheckRegistration(addr, size));
    return Library::Instance().WithPool(
        HandleOf(pool), [&](bm::Pool& found) { return found.Register(addr, size); });
  });
}

int32_t smem_bm_unregister_user_mem(smem_bm_t pool, uint64_t addr) {
  return Guard([&]() -> Status {
    if (addr == 0) return InvalidArgument("addr is null");
    return Library::Instance().WithPool(HandleOf(pool),
                                        [&](bm::Pool& found) { return found.Deregister(addr); });
  });
}

uint32_t smem_bm_get_rank_id_by_gva(smem_bm_t pool, void* gva) {
  return ValueOr<uint32_t>(SMEM_BM_RANK_NONE, [&]() -> Result<uint32_t> {
    uint32_t rank = SMEM_BM_RANK_NONE;
    RETURN_IF_ERROR(Library::Instance().pools().With(HandleOf(pool), [&](bm::Pool& found) {
      rank = found.RankOf(reinterpret_cast<uintptr_t>(gva));
      return Ok();
    }));
    return rank;
  });
}

int32_t smem_bm_update_store_url(const char* url) {
  return Guard([&]() -> Status {
    if (url == nullptr) return InvalidArgument("url is null");
    return Library::Instance().bm().With(
        [&](bm::Service& service) { return service.UpdateStoreUrl(url); });
  });
}

int32_t smem_bm_set_group_event_handler(smem_bm_t pool, smem_bm_group_event_handler handler,
                                        void* context) {
  return Guard([&] {
    return Library::Instance().WithPool(HandleOf(pool), [&](bm::Pool& found) {
      bm::GroupEventHandler call;
      if (handler != nullptr) {
        call = [=](memfabric::Rank rank, bm::GroupEvent event) {
          handler(pool, rank,
                  event == bm::GroupEvent::kJoin ? SMEM_GROUP_EVENT_JOIN : SMEM_GROUP_EVENT_LEAVE,
                  context);
        };
      }
      found.SetEventHandler(std::move(call));
      return Ok();
    });
  });
}

int32_t smem_bm_get_path(smem_bm_t pool, uint32_t rank, char* path, uint32_t capacity) {
  return GuardQuestion([&]() -> Status {
    if (path == nullptr || capacity == 0) return InvalidArgument("path is null or capacity is 0");
    return Library::Instance().WithPool(HandleOf(pool), [&](bm::Pool& found) -> Status {
      ASSIGN_OR_RETURN(auto name, found.Path(rank));
      if (name.size() >= capacity)
        return InvalidArgument("'{}' needs {} bytes, and capacity is {}", name, name.size() + 1,
                               capacity);
      std::memcpy(path, name.c_str(), name.size() + 1);
      return Ok();
    });
  });
}

int32_t smem_bm_get_members(smem_bm_t pool, smem_bm_member_t* members, uint32_t* count) {
  return Guard([&]() -> Status {
    if (count == nullptr) return InvalidArgument("count is null");
    if (members == nullptr && *count != 0)
      return InvalidArgument("members is null, and *count says that there is room for {}", *count);
    return Library::Instance().WithPool(HandleOf(pool), [&](bm::Pool& found) {
      auto live = found.Members();
      for (std::size_t i = 0; i < std::min<std::size_t>(*count, live.size()); ++i) {
        smem_bm_member_t& out = members[i];
        std::memset(&out, 0, sizeof(out));
        out.rank = live[i].rank;
        out.pid = live[i].pid;
        out.epoch = live[i].epoch;
        out.host_bytes = live[i].bytes[Index(Zone::kHost)];
        out.device_bytes = live[i].bytes[Index(Zone::kDevice)];
        live[i].host_name.copy(out.host, sizeof(out.host) - 1);
      }
      *count = static_cast<uint32_t>(live.size());
      return Ok();
    });
  });
}

int32_t smem_bm_get_stats(smem_bm_t pool, smem_bm_stats_t* stats, uint32_t* count) {
  return Guard([&]() -> Status {
    if (count == nullptr) return InvalidArgument("count is null");
    if (stats == nullptr && *count != 0)
      return InvalidArgument("stats is null, and *count says that there is room for {}", *count);
    return Library::Instance().WithPool(HandleOf(pool), [&](bm::Pool& found) {
      auto all = found.Stats();
      for (std::size_t i = 0; i < std::min<std::size_t>(*count, all.size()); ++i) {
        const copy::PathCounts& counts = all[i].counts;
        stats[i] = {all[i].rank,    0, counts.bytes, counts.operations, counts.errors,
                    counts.retries, {}};
        all[i].path.copy(stats[i].path, sizeof(stats[i].path) - 1);
      }
      *count = static_cast<uint32_t>(all.size());
      return Ok();
    });
  });
}

int32_t smem_bm_view_open(smem_bm_t pool, uint32_t rank, smem_bm_mem_type mem_type, void** view,
                          void** va, uint64_t* size) {
  return Guard([&]() -> Status {
    if (view == nullptr || va == nullptr || size == nullptr)
      return InvalidArgument("view, va or size is null");
    ASSIGN_OR_RETURN(auto zone, ZoneOf(mem_type));
    return Library::Instance().WithPool(HandleOf(pool), [&](bm::Pool& found) -> Status {
      ASSIGN_OR_RETURN(auto opened, found.OpenView(zone, rank));
      *va = opened.data();
      *size = opened.size_bytes();
      *view = new memfabric::Window::View(std::move(opened));
      return Ok();
    });
  });
}

void smem_bm_view_close(void* view) { delete static_cast<memfabric::Window::View*>(view); }

}  // extern "C"
