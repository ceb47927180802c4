// The functions of smem_shm.h: check arguments, call, map.

#include <memfabric/smem_shm.h>

#include <algorithm>
#include <cstring>

#include "capi/boundary.h"
#include "capi/hints.h"
#include "capi/library.h"

namespace {

using memfabric::InvalidArgument;
using memfabric::Ok;
using memfabric::Rank;
using memfabric::Result;
using memfabric::Status;
using memfabric::capi::Guard;
using memfabric::capi::GuardMove;
using memfabric::capi::GuardQuestion;
using memfabric::capi::GuardValue;
using memfabric::capi::GuardWait;
using memfabric::capi::Library;
using memfabric::capi::Objects;
using memfabric::capi::ValueOr;
using memfabric::capi::WithoutHints;
using memfabric::transport::AtomicRequest;
namespace shm = memfabric::shm;

Objects::Handle HandleOf(smem_shm_t object) { return reinterpret_cast<std::uintptr_t>(object); }

// Calls use(object), which returns a Status.
template <typename Use>
Status In(smem_shm_t object, Use&& use) {
  return Library::Instance().objects().With(HandleOf(object), std::forward<Use>(use));
}

// Runs `use(object)` and reports it, for functions without other arguments that could be wrong by
// themselves.
template <typename Use>
std::int32_t WithObject(smem_shm_t object, Use&& use, const char* function = __builtin_FUNCTION()) {
  return Guard([&] { return In(object, use); }, function);
}

// The same for what programs do by the thousand; `rank`: with whom.
template <typename Use>
std::int32_t Move(smem_shm_t object, std::uint32_t rank, Use&& use,
                  const char* function = __builtin_FUNCTION()) {
  return GuardMove(
      std::forward<Use>(use), [&] { return fmt::format("{:x} {}", HandleOf(object), rank); },
      function);
}

Status CheckBytes(const void* address, std::uint64_t size) {
  if (address == nullptr) return InvalidArgument("the local address is null");
  if (size == 0) return InvalidArgument("size is 0; it must be 1 or more");
  return Ok();
}

// The two sides of an all-gather, checked.
struct Gather {
  std::span<const std::byte> block;
  std::span<std::byte> gathered;

  static Status Check(const char* send, std::uint32_t send_size, const char* recv) {
    if (send == nullptr || recv == nullptr) return InvalidArgument("send or recv is null");
    if (send_size < 1 || send_size > memfabric::group::kMaxBlockBytes)
      return InvalidArgument("send_size is {}; it must be from 1 to {}", send_size,
                             memfabric::group::kMaxBlockBytes);
    return Ok();
  }
  static Result<Gather> Of(const char* send, std::uint32_t send_size, char* recv,
                           std::uint32_t recv_size, std::uint64_t ranks) {
    RETURN_IF_ERROR(Check(send, send_size, recv));
    if (recv_size != send_size * ranks)
      return InvalidArgument("recv_size is {}; for {} ranks that give {} bytes each it must be {}",
                             recv_size, ranks, send_size, send_size * ranks);
    return Gather{{reinterpret_cast<const std::byte*>(send), send_size},
                  {reinterpret_cast<std::byte*>(recv), recv_size}};
  }
};

bool IsBlocking(std::uint32_t flags) {
  return (WithoutHints("flags", flags, SMEM_SHM_NONBLOCKING) & SMEM_SHM_NONBLOCKING) == 0;
}

std::int32_t Atomic(smem_shm_t object, std::uint32_t rank, const AtomicRequest& request,
                    std::uint64_t* former, const char* function = __builtin_FUNCTION()) {
  return Move(
      object, rank,
      [&] {
        return In(object, [&](shm::Object& found) -> Status {
          ASSIGN_OR_RETURN(std::uint64_t held, found.Atomic(rank, request));
          if (former != nullptr) *former = held;
          return Ok();
        });
      },
      function);
}

AtomicRequest RequestOf(AtomicRequest::Operation operation, std::uint64_t offset,
                        std::uint64_t operand, std::uint64_t expected = 0) {
  return {.operation = operation, .slot_offset = offset, .operand = operand, .expected = expected};
}

}  // namespace

extern "C" {

int32_t smem_shm_config_init(smem_shm_config_t* config) {
  return Guard([&]() -> Status {
    if (config == nullptr) return InvalidArgument("config is null");
    shm::Config defaults;
    std::memset(config, 0, sizeof(*config));
    config->shmInitTimeout = static_cast<uint32_t>(defaults.init_timeout.count());
    config->shmCreateTimeout = static_cast<uint32_t>(defaults.create_timeout.count());
    config->controlOperationTimeout = static_cast<uint32_t>(defaults.operation_timeout.count());
    config->startConfigStoreServer = defaults.start_store;
    config->flags = defaults.flags;
    return Ok();
  });
}

int32_t smem_shm_init(const char* url, uint32_t world, uint32_t rank, uint16_t device,
                      smem_shm_config_t* config) {
  return Guard([&]() -> Status {
    if (url == nullptr) return InvalidArgument("url is null");
    if (config == nullptr) return InvalidArgument("config is null");
    shm::InitOptions options;
    options.store_url = url;
    options.world_size = world;
    options.rank = rank;
    options.device_id = device;
    options.config.init_timeout = std::chrono::seconds(config->shmInitTimeout);
    options.config.create_timeout = std::chrono::seconds(config->shmCreateTimeout);
    options.config.operation_timeout = std::chrono::seconds(config->controlOperationTimeout);
    options.config.start_store = config->startConfigStoreServer;
    options.config.flags = config->flags;
    return Library::Instance().OpenShm(options);
  });
}

void smem_shm_uninit(uint32_t) {
  Guard([] {
    Library::Instance().CloseShm();
    return Ok();
  });
}

uint32_t smem_shm_query_support_data_operation(void) {
  return ValueOr<uint32_t>(0, [] { return Library::Instance().SupportedOps(); });
}

smem_shm_t smem_shm_create(uint32_t id, uint32_t rank_size, uint32_t rank, uint64_t size,
                           smem_shm_data_op_type op, uint32_t flags, void** gva) {
  return GuardValue<smem_shm_t>(nullptr, [&]() -> Result<smem_shm_t> {
    shm::CreateOptions options;
    options.id = id;
    options.rank_size = rank_size;
    options.rank = rank;
    options.bytes = size;
    options.op = WithoutHints("data_op_type", static_cast<std::uint32_t>(op), shm::DataOp::kAll);
    options.flags = flags;
    ASSIGN_OR_RETURN(auto handle, Library::Instance().CreateObject(options));
    if (gva != nullptr) {
      RETURN_IF_ERROR(Library::Instance().objects().With(handle, [&](shm::Object& object) {
        *gva = reinterpret_cast<void*>(object.gva());
        return Ok();
      }));
    }
    return reinterpret_cast<smem_shm_t>(handle);
  });
}

uint64_t smem_shm_get_symmetric_size(smem_shm_t object) {
  uint64_t size = 0;
  GuardQuestion([&] {
    return In(object, [&](shm::Object& found) { return size = found.symmetric_bytes(), Ok(); });
  });
  return size;
}

int32_t smem_shm_destroy(smem_shm_t object, uint32_t) {
  return Guard([&] { return Library::Instance().objects().Remove(HandleOf(object)); });
}

int32_t smem_shm_set_extra_context(smem_shm_t object, const void* context, uint32_t size) {
  return Guard([&]() -> Status {
    if (context == nullptr) return InvalidArgument("context is null");
    if (size == 0)
      return InvalidArgument("size is 0; a context has 1 to {} bytes", shm::kMaxContextBytes);
    return In(object, [&](shm::Object& found) {
      return found.SetContext({static_cast<const std::byte*>(context), size});
    });
  });
}

uint32_t smem_shm_get_global_rank(smem_shm_t object) {
  uint32_t rank = SMEM_SHM_RANK_NONE;
  GuardQuestion(
      [&] { return In(object, [&](shm::Object& found) { return rank = found.rank(), Ok(); }); });
  return rank;
}

uint32_t smem_shm_get_global_rank_size(smem_shm_t object) {
  uint32_t size = SMEM_SHM_RANK_NONE;
  GuardQuestion([&] {
    return In(object, [&](shm::Object& found) { return size = found.rank_size(), Ok(); });
  });
  return size;
}

int32_t smem_shm_control_barrier(smem_shm_t object) {
  return WithObject(object, [](shm::Object& found) { return found.Barrier(); });
}

int32_t smem_shm_control_allgather(smem_shm_t object, const char* send, uint32_t send_size,
                                   char* recv, uint32_t recv_size) {
  return Guard([&]() -> Status {
    RETURN_IF_ERROR(Gather::Check(send, send_size, recv));
    return In(object, [&](shm::Object& found) -> Status {
      ASSIGN_OR_RETURN(auto gather,
                       Gather::Of(send, send_size, recv, recv_size, found.rank_size()));
      return found.AllGather(gather.block, gather.gathered);
    });
  });
}

int32_t smem_shm_subgroup_barrier(smem_shm_t object, const char* key, uint32_t rank_size,
                                  uint32_t rank) {
  return Guard([&]() -> Status {
    if (key == nullptr) return InvalidArgument("key is null");
    return In(object,
              [&](shm::Object& found) { return found.SubgroupBarrier(key, rank_size, rank); });
  });
}

int32_t smem_shm_subgroup_allgather(smem_shm_t object, const char* key, uint32_t rank_size,
                                    uint32_t rank, const char* send, uint32_t send_size, char* recv,
                                    uint32_t recv_size) {
  return Guard([&]() -> Status {
    if (key == nullptr) return InvalidArgument("key is null");
    ASSIGN_OR_RETURN(auto gather, Gather::Of(send, send_size, recv, recv_size, rank_size));
    return In(object, [&](shm::Object& found) {
      return found.SubgroupAllGather(key, rank_size, rank, gather.block, gather.gathered);
    });
  });
}

int32_t smem_shm_topology_can_reach(smem_shm_t object, uint32_t rank, uint32_t* reach) {
  return GuardQuestion([&]() -> Status {
    if (reach == nullptr) return InvalidArgument("reach is null");
    return In(object, [&](shm::Object& found) -> Status {
      ASSIGN_OR_RETURN(*reach, found.ReachableOps(rank));
      return Ok();
    });
  });
}

int32_t smem_shm_atomic_alloc_value(smem_shm_t object, uint32_t limit, int32_t* value) {
  return Guard([&]() -> Status {
    if (value == nullptr) return InvalidArgument("value is null");
    if (limit == 0) return InvalidArgument("limit is 0: there is no number below it");
    return In(object, [&](shm::Object& found) -> Status {
      ASSIGN_OR_RETURN(std::uint32_t number, found.AllocateValue(limit));
      *value = static_cast<int32_t>(number);
      return Ok();
    });
  });
}

int32_t smem_shm_atomic_release_value(smem_shm_t object, int32_t value) {
  return WithObject(object, [&](shm::Object& found) {
    return found.ReleaseValue(static_cast<std::uint32_t>(value));
  });
}

int32_t smem_shm_register_exit(smem_shm_t object, void (*on_exit)(int status)) {
  return WithObject(object, [&](shm::Object& found) { return found.RegisterExit(on_exit), Ok(); });
}

void smem_shm_global_exit(smem_shm_t object, int status) {
  WithObject(object, [&](shm::Object& found) { return found.GlobalExit(status); });
}

int32_t smem_shm_put(smem_shm_t object, uint32_t rank, uint64_t offset, const void* source,
                     uint64_t size, uint32_t flags) {
  return Move(object, rank, [&]() -> Status {
    RETURN_IF_ERROR(CheckBytes(source, size));
    return In(object, [&](shm::Object& found) {
      return found.Put(rank, offset, static_cast<const std::byte*>(source), size,
                       IsBlocking(flags));
    });
  });
}

int32_t smem_shm_get(smem_shm_t object, uint32_t rank, uint64_t offset, void* destination,
                     uint64_t size, uint32_t flags) {
  return Move(object, rank, [&]() -> Status {
    RETURN_IF_ERROR(CheckBytes(destination, size));
    return In(object, [&](shm::Object& found) {
      return found.Get(rank, offset, static_cast<std::byte*>(destination), size, IsBlocking(flags));
    });
  });
}

int32_t smem_shm_put_signal(smem_shm_t object, uint32_t rank, uint64_t offset, const void* source,
                            uint64_t size, uint64_t signal_offset, uint64_t value,
                            smem_shm_signal_op op) {
  return Move(object, rank, [&]() -> Status {
    RETURN_IF_ERROR(CheckBytes(source, size));
    if (op != SMEM_SHM_SIGNAL_SET && op != SMEM_SHM_SIGNAL_ADD)
      return InvalidArgument("signal op {} is neither SET (0) nor ADD (1)", static_cast<int>(op));
    auto operation = op == SMEM_SHM_SIGNAL_SET ? AtomicRequest::Operation::kSwap
                                               : AtomicRequest::Operation::kFetchAdd;
    return In(object, [&](shm::Object& found) {
      return found.PutSignal(rank, offset, static_cast<const std::byte*>(source), size,
                             RequestOf(operation, signal_offset, value));
    });
  });
}

int32_t smem_shm_wait_until(smem_shm_t object, uint64_t offset, smem_shm_cmp cmp, uint64_t value,
                            uint32_t writer) {
  return GuardWait([&] {
    return In(object, [&](shm::Object& found) {
      return found.WaitUntil(offset, static_cast<shm::Comparison>(cmp), value, writer);
    });
  });
}

int32_t smem_shm_atomic_fetch(smem_shm_t object, uint32_t rank, uint64_t offset, uint64_t* value) {
  return Atomic(object, rank, RequestOf(AtomicRequest::Operation::kFetch, offset, 0), value);
}

int32_t smem_shm_atomic_set(smem_shm_t object, uint32_t rank, uint64_t offset, uint64_t value) {
  return Atomic(object, rank, RequestOf(AtomicRequest::Operation::kSwap, offset, value), nullptr);
}

int32_t smem_shm_atomic_swap(smem_shm_t object, uint32_t rank, uint64_t offset, uint64_t value,
                             uint64_t* former) {
  return Atomic(object, rank, RequestOf(AtomicRequest::Operation::kSwap, offset, value), former);
}

int32_t smem_shm_atomic_fetch_add(smem_shm_t object, uint32_t rank, uint64_t offset, uint64_t value,
                                  uint64_t* former) {
  return Atomic(object, rank, RequestOf(AtomicRequest::Operation::kFetchAdd, offset, value),
                former);
}

int32_t smem_shm_atomic_fetch_and(smem_shm_t object, uint32_t rank, uint64_t offset, uint64_t value,
                                  uint64_t* former) {
  return Atomic(object, rank, RequestOf(AtomicRequest::Operation::kFetchAnd, offset, value),
                former);
}

int32_t smem_shm_atomic_fetch_or(smem_shm_t object, uint32_t rank, uint64_t offset, uint64_t value,
                                 uint64_t* former) {
  return Atomic(object, rank, RequestOf(AtomicRequest::Operation::kFetchOr, offset, value), former);
}

int32_t smem_shm_atomic_fetch_xor(smem_shm_t object, uint32_t rank, uint64_t offset, uint64_t value,
                                  uint64_t* former) {
  return Atomic(object, rank, RequestOf(AtomicRequest::Operation::kFetchXor, offset, value),
                former);
}

int32_t smem_shm_atomic_compare_swap(smem_shm_t object, uint32_t rank, uint64_t offset,
                                     uint64_t condition, uint64_t value, uint64_t* former) {
  return Atomic(object, rank,
                RequestOf(AtomicRequest::Operation::kCompareSwap, offset, value, condition),
                former);
}

int32_t smem_shm_fence(smem_shm_t object) {
  return WithObject(object, [](shm::Object& found) { return found.Fence(), Ok(); });
}

int32_t smem_shm_quiet(smem_shm_t object) {
  return Move(object, SMEM_SHM_ANY_RANK,
              [&] { return In(object, [](shm::Object& found) { return found.Quiet(); }); });
}

int32_t smem_shm_get_path(smem_shm_t object, uint32_t rank, char* path, uint32_t capacity) {
  return GuardQuestion([&]() -> Status {
    if (path == nullptr || capacity == 0) return InvalidArgument("path is null or capacity is 0");
    return In(object, [&](shm::Object& found) -> Status {
      ASSIGN_OR_RETURN(auto name, found.Path(rank));
      if (name.size() >= capacity)
        return InvalidArgument("'{}' needs {} bytes, and capacity is {}", name, name.size() + 1,
                               capacity);
      std::memcpy(path, name.c_str(), name.size() + 1);
      return Ok();
    });
  });
}

int32_t smem_shm_get_live_ranks(smem_shm_t object, uint32_t* ranks, uint32_t* count) {
  return Guard([&]() -> Status {
    if (count == nullptr) return InvalidArgument("count is null");
    if (ranks == nullptr && *count != 0)
      return InvalidArgument("ranks is null, and *count says that there is room for {}", *count);
    return In(object, [&](shm::Object& found) {
      auto live = found.Live();
      std::copy_n(live.begin(), std::min<std::size_t>(*count, live.size()), ranks);
      *count = static_cast<uint32_t>(live.size());
      return Ok();
    });
  });
}

int32_t smem_shm_view_open(smem_shm_t object, uint32_t rank, void** view, void** va,
                           uint64_t* size) {
  return Guard([&]() -> Status {
    if (view == nullptr || va == nullptr || size == nullptr)
      return InvalidArgument("view, va or size is null");
    return In(object, [&](shm::Object& found) -> Status {
      ASSIGN_OR_RETURN(auto opened, found.OpenView(rank));
      *va = opened.data;
      *size = opened.size_bytes;
      *view = new shm::View(std::move(opened));
      return Ok();
    });
  });
}

void smem_shm_view_close(void* view) { delete static_cast<shm::View*>(view); }

}  // extern "C"
