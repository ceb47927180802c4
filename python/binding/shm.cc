// The module memfabric_hybrid.shm: names, signatures and what help() says. What they do is in
// share_memory.cc.

#include <memfabric/smem_shm.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <memory>

#include "calls.h"
#include "config_fields.h"
#include "modules.h"
#include "share_memory.h"

namespace memfabric::python {
namespace {

struct ShmConfig {
  Field init_timeout = 0;
  Field create_timeout = 0;
  Field operation_timeout = 0;
  bool start_store = false;
  Field flags = 0;

  ShmConfig() {
    smem_shm_config_t config;
    smem_shm_config_init(&config);
    init_timeout = config.shmInitTimeout;
    create_timeout = config.shmCreateTimeout;
    operation_timeout = config.controlOperationTimeout;
    start_store = config.startConfigStoreServer;
    flags = config.flags;
  }
  // Refused: a field doesn't fit.
  smem_shm_config_t ToC() const {
    smem_shm_config_t config;
    smem_shm_config_init(&config);
    config.shmInitTimeout = FieldToC(init_timeout, "init_timeout");
    config.shmCreateTimeout = FieldToC(create_timeout, "create_timeout");
    config.controlOperationTimeout = FieldToC(operation_timeout, "operation_timeout");
    config.startConfigStoreServer = start_store;
    config.flags = FieldToC(flags, "flags");
    return config;
  }
};

void BindShmConfig(nb::module_& module) {
  nb::class_<ShmConfig> type(module, "ShmConfig", nb::is_weak_referenceable(),
                             R"(Settings of initialize().

Attributes take ints and bools; anything else raises TypeError. A number out of range is
INVALID_PARAM from initialize().)");
  type.def(nb::init<>(), "A config with the values that each attribute names.");
  BindIntField<&ShmConfig::init_timeout>(
      type, "init_timeout", "Seconds that initialize() may take, 1 to 4294967295. At first 120.");
  BindIntField<&ShmConfig::create_timeout>(
      type, "create_timeout",
      "Seconds that create() waits for the other ranks, 1 to 4294967295. At first 120.");
  BindIntField<&ShmConfig::operation_timeout>(
      type, "operation_timeout",
      "Seconds that any other wait for ranks may take, such as barrier(), 1 to 4294967295. At "
      "first\n120.");
  BindFlagField<&ShmConfig::start_store>(
      type, "start_store",
      "Whether rank 0 serves a tcp:// store, and ranks of its host take it over. At first True.");
  BindIntField<&ShmConfig::flags>(type, "flags", "Reserved. At first 0.");
  BindFields(type, "ShmConfig",
             {"init_timeout", "create_timeout", "operation_timeout", "start_store", "flags"});
}

void BindEnums(nb::module_& module) {
  nb::enum_<smem_shm_data_op_type> op(module, "ShmDataOpType", nb::is_arithmetic(), nb::is_flag(),
                                      "How an object is to be used; also, as bits, how a rank can "
                                      "be reached.");
  op.value("MTE", SMEMS_DATA_OP_MTE, "Loads and stores: ranks of one host.")
      .value("SDMA", SMEMS_DATA_OP_SDMA, "Copies by the library: put(), get(), atomics.")
      .value("ROCE", SMEMS_DATA_OP_RDMA, "RDMA where the host has it; RDMA is another name of it.");
  nb::object rdma = op.attr("ROCE");
  op.attr("RDMA") = rdma;  // and where an enum keeps its aliases:
  nb::borrow<nb::dict>(op.attr("_member_map_"))["RDMA"] = rdma;

  nb::enum_<smem_shm_cmp>(module, "ShmCmp", nb::is_arithmetic(),
                          "What wait_until() asks of a cell, unsigned; numbers as OpenSHMEM's.")
      .value("EQ", SMEM_SHM_CMP_EQ, "The cell equals the value.")
      .value("NE", SMEM_SHM_CMP_NE, "The cell doesn't equal the value.")
      .value("GT", SMEM_SHM_CMP_GT, "The cell is greater than the value.")
      .value("LE", SMEM_SHM_CMP_LE, "The cell is at most the value.")
      .value("LT", SMEM_SHM_CMP_LT, "The cell is less than the value.")
      .value("GE", SMEM_SHM_CMP_GE, "The cell is at least the value.");

  nb::enum_<smem_shm_signal_op>(module, "ShmSignalOp", nb::is_arithmetic(),
                                "What put_signal() does to the signal's cell.")
      .value("SET", SMEM_SHM_SIGNAL_SET, "Stores the value in the cell.")
      .value("ADD", SMEM_SHM_SIGNAL_ADD, "Adds the value to the cell.");
}

void BindCollectives(nb::class_<ShareMemory>& type) {
  type.def("barrier", &ShareMemory::Barrier, nb::arg("group").none() = nb::none(),
           nb::sig("def barrier(self, group: tuple[str, int, int] | None = None) -> int"),
           R"(Returns when every rank has called it.

What a rank wrote before it, the others see after it.

group: (key, size, rank): only the `size` ranks that call with the same key, of which this is
    `rank`. A key has 1 to 128 bytes. The ranks meet in the store when a key is first used, and in
    microseconds from then on. An object has room for 45 keys.
Returns 0. NOT_CONNECTED (-2014): a rank died or left; get_last_err_msg() names it and the ranks
    that are left. TIMEOUT (-2004): get_last_err_msg() names the ranks that did not call it within
    operation_timeout; a second call goes on waiting for the same barrier.
Threads: any. Calls of several threads are taken one after another, and each counts as one call of
    this rank.)");

  type.def("all_gather", &ShareMemory::AllGather, nb::arg("local_data"),
           nb::arg("group").none() = nb::none(),
           nb::sig("def all_gather(self, local_data: memfabric_hybrid._types.SupportsBuffer, "
                   "group: tuple[str, int, int] | None = None) -> bytes"),
           R"(The bytes that every rank gives, in the order of ranks. A barrier, too.

local_data: bytes, or anything with a buffer; 1 to 65536 bytes, as many on every rank.
group: as barrier().
Raises RuntimeError with a message that names the rank that gave another length, died or did not
    come.

>>> shm.all_gather(b'%04d' % shm.local_rank)
b'00000001')");

  type.def("live_ranks", &ShareMemory::LiveRanks, nb::sig("def live_ranks(self) -> list[int]"),
           R"(The ranks that have neither died nor left, this one included.

Raises RuntimeError when the object is destroyed.)");

  type.def(
      "alloc_value",
      [](ShareMemory& shm, Int<std::uint32_t> limit) {
        return OrRaise([&] {
          std::uint32_t below = limit.Get("limit");
          std::int32_t value = -1;
          std::int32_t code = InLibrary(Gil::kRelease, [&] {
            return smem_shm_atomic_alloc_value(shm.handle(), below, &value);
          });
          if (code != SMEM_OK) RaiseLastError();
          return value;
        });
      },
      nb::arg("limit") = SMEM_SHM_MAX_VALUES,
      nb::sig("def alloc_value(self, limit: int = 1024) -> int"),
      R"(The lowest number below `limit` that no rank owns.

The number is this rank's until release_value(), or until the rank goes.

limit: 1 to 1024.
Raises RuntimeError: all numbers are taken, or rank 0, which keeps them, has gone.)");
  type.def(
      "release_value",
      [](ShareMemory& shm, Int<std::int32_t> value) {
        return Code([&] {
          std::int32_t number = value.Get("value");
          return InLibrary(Gil::kRelease,
                           [&] { return smem_shm_atomic_release_value(shm.handle(), number); });
        });
      },
      nb::arg("value"), nb::sig("def release_value(self, value: int) -> int"),
      R"(Gives a number of alloc_value() back.

Returns 0. OBJECT_NOT_EXISTS (-2007): the number isn't this rank's.)");
}

void BindPutGet(nb::class_<ShareMemory>& type) {
  type.def("put", &ShareMemory::Put, nb::arg("rank"), nb::arg("offset"), nb::arg("data"),
           nb::arg("size").none() = nb::none(), nb::arg("blocking").none() = true,
           nb::sig("def put(self, rank: int, offset: int, data: memfabric_hybrid._types.Address, "
                   "size: int | None = None, "
                   "blocking: bool = True) -> int"),
           R"(Copies bytes to `offset` of a rank's memory, on this host or another.

data: anything with a buffer (bytes, numpy array, torch CPU tensor), or an address.
size: bytes; required for an address.
blocking: False: the call may return before the bytes are in place. quiet() waits for them, and
    `data` must not change until then.
Returns 0. INVALID_PARAM (-2000): a bad rank, or a range that leaves its memory. NOT_CONNECTED
    (-2014): the rank has gone.)");
  type.def("get", &ShareMemory::Get, nb::arg("rank"), nb::arg("offset"), nb::arg("size"),
           nb::sig("def get(self, rank: int, offset: int, size: int) -> bytes"),
           R"(Gives `size` bytes from `offset` of a rank's memory.

get_into() takes a buffer of yours instead. Raises RuntimeError.)");
  type.def("get_into", &ShareMemory::GetInto, nb::arg("rank"), nb::arg("offset"), nb::arg("out"),
           nb::arg("size").none() = nb::none(), nb::arg("blocking").none() = true,
           nb::sig("def get_into(self, rank: int, offset: int, out: "
                   "memfabric_hybrid._types.Address, size: int | None = None, "
                   "blocking: bool = True) -> int"),
           R"(Copies from `offset` of a rank's memory to `out`, a writable buffer or an address.

Other arguments and codes as put().)");
  type.def("put_signal", &ShareMemory::PutSignal, nb::arg("rank"), nb::arg("offset"),
           nb::arg("data"), nb::arg("signal_offset"), nb::arg("value"),
           nb::arg("op") = SMEM_SHM_SIGNAL_SET, nb::arg("size").none() = nb::none(),
           nb::sig("def put_signal(self, rank: int, offset: int, data: "
                   "memfabric_hybrid._types.Address, signal_offset: int, "
                   "value: int, op: ShmSignalOp | int = memfabric_hybrid.shm.ShmSignalOp.SET, "
                   "size: int | None = None) -> int"),
           R"(Puts, then sets the 8-byte cell at `signal_offset` of the same rank, or adds to it.

Whoever sees the signal, by wait_until() or an atomic, sees the bytes. Other arguments and codes as
put().)");
  type.def("wait_until", &ShareMemory::WaitUntil, nb::arg("offset"), nb::arg("cmp"),
           nb::arg("value"), nb::arg("writer").none() = nb::none(),
           nb::sig("def wait_until(self, offset: int, cmp: ShmCmp | int, value: int, writer: int | "
                   "None = None) -> int"),
           R"(Waits until this rank's own 8-byte cell at `offset` compares true with `value`.

The comparison is unsigned. Signals and atomics are seen at once, puts and plain stores within a
millisecond. What was written before the cell is then seen, too.

writer: the rank that is expected to write the cell; its end ends the wait. None: the end of any
    rank does.
Returns 0. NOT_CONNECTED (-2014): the writer has gone. TIMEOUT (-2004): operation_timeout has
    passed.)");
  type.def(
      "fence", [](ShareMemory& shm) { return smem_shm_fence(shm.handle()); },
      nb::sig("def fence(self) -> int"),
      "At each rank, this thread's puts before the call are seen before its puts after it.");
  type.def("quiet", &ShareMemory::Quiet, nb::sig("def quiet(self) -> int"),
           R"(Waits until all puts and gets of this thread are in place.

Returns 0. NOT_CONNECTED (-2014): a rank on another host has gone.)");
}

using FetchingCall = std::int32_t (*)(smem_shm_t, std::uint32_t, std::uint64_t, std::uint64_t,
                                      std::uint64_t*);

template <FetchingCall call>
void BindAtomic(nb::class_<ShareMemory>& type, const char* name, const char* signature,
                const char* doc) {
  type.def(
      name,
      [](ShareMemory& shm, Int<std::uint32_t> rank, Int<std::uint64_t> offset, Word value) {
        return OrRaise([&] {
          std::uint32_t at = rank.Get("rank");
          std::uint64_t cell = offset.Get("offset");
          std::uint64_t word = value.Get("value");
          std::uint64_t former = 0;
          std::int32_t code = InLibrary(
              Gil::kKeepWhileShort, [&] { return call(shm.handle(), at, cell, word, &former); });
          if (code != SMEM_OK) RaiseLastError();
          return former;
        });
      },
      nb::arg("rank"), nb::arg("offset"), nb::arg("value"), nb::sig(signature), doc);
}

void BindAtomics(nb::class_<ShareMemory>& type) {
  BindAtomic<smem_shm_atomic_fetch_add>(
      type, "atomic_fetch_add",
      "def atomic_fetch_add(self, rank: int, offset: int, value: int) -> int",
      R"(Adds to the 8-byte cell at `offset` of a rank's memory; returns what it held before.

Atomics are sequentially consistent, in one order for each cell, whoever does them from wherever.
They come after this thread's earlier puts to that rank.

offset: a multiple of 8.
value: -2**63 to 2**64 - 1; sums wrap.
Raises RuntimeError.)");
  BindAtomic<smem_shm_atomic_swap>(
      type, "atomic_swap", "def atomic_swap(self, rank: int, offset: int, value: int) -> int",
      "Stores `value`; returns what the cell held before. As atomic_fetch_add().");
  BindAtomic<smem_shm_atomic_fetch_and>(
      type, "atomic_fetch_and",
      "def atomic_fetch_and(self, rank: int, offset: int, value: int) -> int",
      "Bitwise and; returns what the cell held before. As atomic_fetch_add().");
  BindAtomic<smem_shm_atomic_fetch_or>(
      type, "atomic_fetch_or",
      "def atomic_fetch_or(self, rank: int, offset: int, value: int) -> int",
      "Bitwise or; returns what the cell held before. As atomic_fetch_add().");
  BindAtomic<smem_shm_atomic_fetch_xor>(
      type, "atomic_fetch_xor",
      "def atomic_fetch_xor(self, rank: int, offset: int, value: int) -> int",
      "Bitwise exclusive or; returns what the cell held before. As atomic_fetch_add().");
  type.def(
      "atomic_fetch",
      [](ShareMemory& shm, Int<std::uint32_t> rank, Int<std::uint64_t> offset) {
        return OrRaise([&] {
          std::uint32_t at = rank.Get("rank");
          std::uint64_t cell = offset.Get("offset");
          std::uint64_t value = 0;
          std::int32_t code = InLibrary(Gil::kKeepWhileShort, [&] {
            return smem_shm_atomic_fetch(shm.handle(), at, cell, &value);
          });
          if (code != SMEM_OK) RaiseLastError();
          return value;
        });
      },
      nb::arg("rank"), nb::arg("offset"),
      nb::sig("def atomic_fetch(self, rank: int, offset: int) -> int"),
      "Returns what the cell holds. As atomic_fetch_add().");
  type.def(
      "atomic_set",
      [](ShareMemory& shm, Int<std::uint32_t> rank, Int<std::uint64_t> offset, Word value) {
        return Code([&] {
          std::uint32_t at = rank.Get("rank");
          std::uint64_t cell = offset.Get("offset");
          std::uint64_t word = value.Get("value");
          return InLibrary(Gil::kKeepWhileShort,
                           [&] { return smem_shm_atomic_set(shm.handle(), at, cell, word); });
        });
      },
      nb::arg("rank"), nb::arg("offset"), nb::arg("value"),
      nb::sig("def atomic_set(self, rank: int, offset: int, value: int) -> int"),
      "Stores `value`, as atomic_swap(); returns a code.");
  type.def(
      "atomic_compare_swap",
      [](ShareMemory& shm, Int<std::uint32_t> rank, Int<std::uint64_t> offset, Word condition,
         Word value) {
        return OrRaise([&] {
          std::uint32_t at = rank.Get("rank");
          std::uint64_t cell = offset.Get("offset");
          std::uint64_t wanted = condition.Get("condition");
          std::uint64_t word = value.Get("value");
          std::uint64_t former = 0;
          std::int32_t code = InLibrary(Gil::kKeepWhileShort, [&] {
            return smem_shm_atomic_compare_swap(shm.handle(), at, cell, wanted, word, &former);
          });
          if (code != SMEM_OK) RaiseLastError();
          return former;
        });
      },
      nb::arg("rank"), nb::arg("offset"), nb::arg("condition"), nb::arg("value"),
      nb::sig("def atomic_compare_swap(self, rank: int, offset: int, condition: int, value: int) "
              "-> int"),
      R"(Stores `value` if the cell holds `condition`; returns what it held before.

Otherwise as atomic_fetch_add().)");
}

void BindShareMemory(nb::module_& module) {
  nb::class_<ShareMemory> type(module, "ShareMemory", nb::is_weak_referenceable(),
                               R"(Symmetric memory of several ranks, as this rank holds it.

create() makes it. Rank r's memory begins at gva + r * symmetric_size in every process. On one host
ranks can read and write it there, or by view(). Offsets are bytes from the begin of a rank's
memory. Any thread may call any method. Methods that return a code return 0 or a negative ErrorCode,
and get_last_err_msg() then says why. An object that is no longer referred to is destroyed.)");

  type.def_prop_ro("local_rank", &ShareMemory::local_rank, "This process's rank in the object.");
  type.def_prop_ro("rank_size", &ShareMemory::rank_size, "How many ranks the object has.");
  type.def_prop_ro("gva", &ShareMemory::gva, "Where rank 0's memory begins.");
  type.def_prop_ro("symmetric_size", &ShareMemory::symmetric_size,
                   "Bytes from the begin of one rank's memory to the next one's: the size.");
  type.def("__repr__", &ShareMemory::Repr);

  type.def("set_context", &ShareMemory::SetContext, nb::arg("context"),
           nb::sig("def set_context(self, context: memfabric_hybrid._types.SupportsBuffer) -> int"),
           R"(Keeps 1 to 65536 bytes for this process's kernels.

Kernels find them by smem_shm_get_extra_context_addr(gva).
Returns 0. INVALID_PARAM (-2000): another length.)");
  type.def("destroy", &ShareMemory::Destroy, nb::arg("flags") = 0,
           nb::sig("def destroy(self, flags: int = 0) -> int"),
           R"(Ends this rank's part in the object. Not collective.

Calls in other threads end with an error. Views stay valid.

flags: reserved.
Returns 0. OBJECT_NOT_EXISTS (-2007): destroyed before.)");
  type.def(
      "query_support_data_operation",
      [](const ShareMemory&) { return smem_shm_query_support_data_operation(); },
      nb::sig("def query_support_data_operation(self) -> int"),
      "What this machine really has, as bits of ShmDataOpType.");
  type.def("topology_can_reach", &ShareMemory::TopologyCanReach, nb::arg("remote_rank"),
           nb::arg("reach_info"),
           nb::sig("def topology_can_reach(self, remote_rank: int, "
                   "reach_info: memfabric_hybrid._types.SupportsBuffer | list[int] | int) -> int"),
           R"(Writes how a rank can be reached now to `reach_info`, as bits of ShmDataOpType.

reach_info: a writable buffer of 4 bytes (ctypes.c_uint32), or a list, whose first element becomes
    the bits. An int is accepted and tells nothing; reachable_ops() returns the bits.
Returns 0. INVALID_PARAM (-2000): a bad rank, or a buffer that is too small.)");
  type.def("reachable_ops", &ShareMemory::ReachableOps, nb::arg("remote_rank"),
           nb::sig("def reachable_ops(self, remote_rank: int) -> int"),
           R"(How a rank can be reached now, as bits of ShmDataOpType; 0 for one that has gone.

Raises RuntimeError for a bad rank.)");
  type.def(
      "path",
      [](ShareMemory& shm, Int<std::uint32_t> rank) {
        return OrRaise([&] {
          char path[SMEM_SHM_PATH_SIZE] = "";
          if (smem_shm_get_path(shm.handle(), rank.Get("rank"), path, sizeof(path)) != SMEM_OK)
            RaiseLastError();
          return Text(path);
        });
      },
      nb::arg("rank"), nb::sig("def path(self, rank: int) -> str"),
      R"(The path that puts and gets to a rank take.

Returns 'mapped' (the same host: loads and stores), 'tcp' or 'tcp+tls'.
Raises RuntimeError when the rank isn't there.)");
  type.def("view", &ShareMemory::View, nb::arg("rank"),
           nb::sig("def view(self, rank: int) -> memoryview"),
           R"(A rank's memory, on the same host, without a copy.

It stays valid after the rank's death and after destroy().
Raises RuntimeError: a bad rank, or one on another host.

>>> np.frombuffer(shm.view(1), np.float32)[:4] = 1.0)");
  type.def(
      "tensor", &ShareMemory::Tensor, nb::arg("rank"), nb::arg("shape").none() = nb::none(),
      nb::arg("dtype") = "uint8", nb::arg("offset") = 0,
      nb::sig("def tensor(self, rank: int, shape: collections.abc.Sequence[int] | int | None = "
              "None, dtype: str = 'uint8', "
              "offset: int = 0) -> object"),
      R"(A rank's memory as an array that has __dlpack__, without a copy.

It is for numpy.from_dlpack, torch.from_dlpack and the like.

shape: None: one dimension, up to the end of the memory.
dtype: 'uint8' to 'int64', 'float16', 'bfloat16', 'float32', 'float64'.
offset: bytes from the begin of the rank's memory.
Raises RuntimeError as view() does.

>>> weights = np.from_dlpack(shm.tensor(0, (1024, 64), 'float32')))");

  BindCollectives(type);
  BindPutGet(type);
  BindAtomics(type);
}

ShareMemory* Create(Int<std::uint32_t> id, Int<std::uint32_t> rank_size, Int<std::uint32_t> rank_id,
                    Int<std::uint64_t> local_mem_size, Member<smem_shm_data_op_type> op,
                    Int<std::uint32_t> flags) {
  return OrRaise([&] {
    std::uint32_t number = id.Get("id");
    std::uint32_t ranks = rank_size.Get("rank_size");
    std::uint32_t rank = rank_id.Get("rank_id");
    std::uint64_t size_bytes = local_mem_size.Get("local_mem_size");
    smem_shm_data_op_type type = op.Get("data_op_type");
    std::uint32_t bits = flags.Get("flags");
    auto shm = InLibrary(Gil::kRelease, [&] {
      void* gva = nullptr;
      smem_shm_t handle = smem_shm_create(number, ranks, rank, size_bytes, type, bits, &gva);
      return std::make_unique<ShareMemory>(handle, number, gva);
    });
    if (shm->handle() == nullptr) RaiseLastError();
    return shm.release();
  });
}

}  // namespace

void BindShm(nb::module_& module) {
  BindEnums(module);
  BindShmConfig(module);
  BindShareMemory(module);

  module.def(
      "initialize",
      [](Str store_url, Int<std::uint32_t> world_size, Int<std::uint32_t> rank_id,
         Int<std::uint16_t> device_id, const ShmConfig& config) {
        return Code([&] {
          std::string url = CString(store_url, "store_url");
          std::uint32_t ranks = world_size.Get("world_size");
          std::uint32_t rank = rank_id.Get("rank_id");
          std::uint16_t device = device_id.Get("device_id");
          smem_shm_config_t settings = config.ToC();
          return InLibrary(Gil::kRelease, [&] {
            return smem_shm_init(url.c_str(), ranks, rank, device, &settings);
          });
        });
      },
      nb::arg("store_url"), nb::arg("world_size"), nb::arg("rank_id"), nb::arg("device_id"),
      nb::arg("config"),
      nb::sig("def initialize(store_url: str | bytes, world_size: int, rank_id: int, device_id: "
              "int, config: ShmConfig) -> int"),
      R"(Takes a rank of the job at a store; returns once this process has it.

store_url: 'tcp://host:port' (served by rank 0, see ShmConfig.start_store) or
    'etcd://h1:p1,h2:p2[/prefix]'.
world_size: how many ranks there may be, 1 to 1024.
rank_id: this process's rank, below that. It has nothing to do with Big Memory's.
device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
Returns 0, also when called again with equal arguments; with others REPEAT_CALL (-2005).
    INVALID_PARAM (-2000): get_last_err_msg() names the argument, its value and the limit.
    DUPLICATED_OBJECT (-2006): a live process holds the rank; the message names it.
    TIMEOUT (-2004), NOT_CONNECTED (-2014): the store didn't answer within init_timeout.

>>> mf.shm.initialize('tcp://127.0.0.1:8570', 2, 0, 0, mf.shm.ShmConfig())
0)");
  module.def(
      "uninitialize",
      [](Int<std::uint32_t> flags) {
        InLibrary(Gil::kRelease, [&] { smem_shm_uninit(flags.value); });
      },
      nb::arg("flags") = 0, nb::sig("def uninitialize(flags: int = 0) -> None"),
      R"(Destroys this process's objects and gives its rank back. Harmless when not initialized.

flags: reserved.)");
  module.def(
      "create", &Create, nb::arg("id"), nb::arg("rank_size"), nb::arg("rank_id"),
      nb::arg("local_mem_size"), nb::arg("data_op_type") = SMEMS_DATA_OP_MTE, nb::arg("flags") = 0,
      nb::sig("def create(id: int, rank_size: int, rank_id: int, local_mem_size: int, "
              "data_op_type: ShmDataOpType | int = memfabric_hybrid.shm.ShmDataOpType.MTE, flags: "
              "int = 0) -> ShareMemory"),
      R"(Creates object `id` together with its other ranks; returns when all have mapped each other.

id: 0 to 63; a process has each at most once, and may have it again after destroy().
rank_size: how many ranks the object has, 1 to world_size.
rank_id: this process's rank in the object, which may differ from initialize()'s.
local_mem_size: bytes of each rank, the same on all: a multiple of 2 MiB from 2 MiB to 64 GiB.
data_op_type: ShmDataOpType. Where the machine doesn't have it, the next best is used and a warning
    says so; with the environment variable MEMFABRIC_STRICT=1 create() fails. Several bits: any of
    them will do. Unknown bits are ignored.
flags: hints. Bits 0-6: NUMA node; 0, 127 and a node that doesn't exist are the kernel's choice.
    Bit 7: back the memory at once.
Raises RuntimeError on every rank, with a message that names the ranks that did not come within
    create_timeout, died, or gave another size or rank_size. Nothing is left behind.

>>> shm = mf.shm.create(0, 2, rank, 2 << 20)
>>> shm.barrier()
0)");
}

}  // namespace memfabric::python
