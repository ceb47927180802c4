// The module memfabric_hybrid.bm: names, signatures and what help() says. What they do is in
// big_memory.cc and bm_config.cc.

#include <memfabric/smem_bm.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <memory>

#include "big_memory.h"
#include "bm_config.h"
#include "calls.h"
#include "modules.h"

namespace memfabric::python {
namespace {

void BindEnums(nb::module_& module) {
  nb::enum_<smem_bm_mem_type>(
      module, "BmMemType", nb::is_arithmetic(),
      "Which memory. In a pool LOCAL_DEVICE and LOCAL_HOST mean the same as DEVICE and HOST.")
      .value("LOCAL_DEVICE", SMEM_MEM_TYPE_LOCAL_DEVICE, "Device memory of this rank.")
      .value("LOCAL_HOST", SMEM_MEM_TYPE_LOCAL_HOST, "Host memory of this rank.")
      .value("DEVICE", SMEM_MEM_TYPE_DEVICE, "Device memory.")
      .value("HOST", SMEM_MEM_TYPE_HOST, "Host memory.");

  nb::enum_<smem_bm_data_op_type> op(module, "BmDataOpType", nb::is_arithmetic(),
                                     R"(The path that a pool's copies should take.

Where the machine doesn't have it, the next best is taken and a warning says so once;
BigMemory.path() tells which. With the environment variable MEMFABRIC_STRICT=1 create() fails
instead.)");
  op.value("SDMA", SMEMB_DATA_OP_SDMA, "The best path of this machine.")
      .value("HOST_RDMA", SMEMB_DATA_OP_HOST_RDMA, "RDMA from host memory.")
      .value("HOST_TCP", SMEMB_DATA_OP_HOST_TCP, "TCP.")
      .value("DEVICE_RDMA", SMEMB_DATA_OP_DEVICE_RDMA,
             "RDMA where the host has it; ROCE is another name of it.")
      .value("HOST_URMA", SMEMB_DATA_OP_HOST_URMA, "URMA from host memory.")
      .value("HOST_SHM", SMEMB_DATA_OP_HOST_SHM, "Shared memory of one host.")
      .value("DEVICE_URMA", SMEMB_DATA_OP_DEVICE_URMA, "URMA from device memory.")
      .value("DEVICE_UBOE", SMEMB_DATA_OP_DEVICE_UBOE, "UBOE from device memory.");
  nb::object rdma = op.attr("DEVICE_RDMA");
  op.attr("ROCE") = rdma;  // and where an enum keeps its aliases:
  nb::borrow<nb::dict>(op.attr("_member_map_"))["ROCE"] = rdma;

  nb::enum_<smem_bm_copy_type>(module, "BmCopyType", nb::is_arithmetic(),
                               R"(Source and destination of a copy.

L: device memory of this process. H: host memory of this process. G: the pool, whose address says
which memory. GH: the pool's host memory.)")
      .value("L2G", SMEMB_COPY_L2G, "Local device memory to the pool.")
      .value("G2L", SMEMB_COPY_G2L, "The pool to local device memory.")
      .value("G2H", SMEMB_COPY_G2H, "The pool to host memory.")
      .value("H2G", SMEMB_COPY_H2G, "Host memory to the pool.")
      .value("L2GH", SMEMB_COPY_L2GH, "Local device memory to the pool's host memory.")
      .value("GH2L", SMEMB_COPY_GH2L, "The pool's host memory to local device memory.")
      .value("GH2H", SMEMB_COPY_GH2H, "The pool's host memory to host memory.")
      .value("H2GH", SMEMB_COPY_H2GH, "Host memory to the pool's host memory.")
      .value("G2G", SMEMB_COPY_G2G, "The pool to the pool, any two ranks.")
      .value("AUTO", SMEMB_COPY_AUTO, "The addresses decide.");

  nb::enum_<smem_bm_group_event>(module, "BmGroupEvent", nb::is_arithmetic(),
                                 "What a group event handler is told.")
      .value("JOIN_EVENT", SMEM_GROUP_EVENT_JOIN, "Another rank joined the pool.")
      .value("LEAVE_EVENT", SMEM_GROUP_EVENT_LEAVE, "Another rank left it, or died.");
}

void BindMember(nb::module_& module) {
  nb::class_<smem_bm_member_t>(module, "Member", "A live rank of a pool, as members() lists it.")
      .def_ro("rank", &smem_bm_member_t::rank, "Its rank.")
      .def_prop_ro(
          "host", [](const smem_bm_member_t& member) { return Text(member.host); },
          "Name of its host.")
      .def_ro("pid", &smem_bm_member_t::pid, "Its process, on that host.")
      .def_ro("epoch", &smem_bm_member_t::epoch, "Grows with each process that takes the rank.")
      .def_ro("host_bytes", &smem_bm_member_t::host_bytes,
              "Host memory that it contributes, in bytes.")
      .def_ro("device_bytes", &smem_bm_member_t::device_bytes,
              "Device memory that it contributes, in bytes.")
      .def("__repr__", [](const smem_bm_member_t& member) {
        return "Member(rank=" + std::to_string(member.rank) + ", host='" +
               Text(member.host).c_str() + "', pid=" + std::to_string(member.pid) +
               ", epoch=" + std::to_string(member.epoch) +
               ", host_bytes=" + std::to_string(member.host_bytes) +
               ", device_bytes=" + std::to_string(member.device_bytes) + ")";
      });
}

int Traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (nb::inst_ready(self)) Py_VISIT(nb::inst_ptr<BigMemory>(self)->group_event_function().ptr());
  return 0;
}

int Clear(PyObject* self) {
  if (nb::inst_ready(self))
    nb::object former = std::move(nb::inst_ptr<BigMemory>(self)->group_event_function());
  return 0;
}

PyType_Slot kBigMemorySlots[] = {{Py_tp_traverse, reinterpret_cast<void*>(Traverse)},
                                 {Py_tp_clear, reinterpret_cast<void*>(Clear)},
                                 {0, nullptr}};

void BindBigMemory(nb::module_& module) {
  nb::class_<BigMemory> type(module, "BigMemory", nb::is_weak_referenceable(),
                             nb::type_slots(kBigMemorySlots),
                             R"(A pool of memory, as this rank holds it.

create() and create2() make it. Global addresses are ints, the same in every process:
peer_rank_ptr(rank) is where a rank's part begins. Any thread may call any method. Methods that
return a code return 0 or a negative ErrorCode, and get_last_err_msg() then says why. A pool that is
no longer referred to is destroyed.)");

  type.def(
      "join",
      [](BigMemory& pool, Int<std::uint32_t> flags) {
        return Code([&] {
          std::uint32_t bits = flags.Get("flags");
          return InLibrary(Gil::kRelease, [&] { return smem_bm_join(pool.handle(), bits); });
        });
      },
      nb::arg("flags") = 0, nb::sig("def join(self, flags: int = 0) -> int"),
      R"(Makes this rank's memory part of the pool. Not collective.

When it has returned 0, this rank reaches every rank that had joined before, and every one of them
reaches it.

flags: reserved.
Returns 0, also when joined already. TIMEOUT (-2004): a rank didn't answer within
    operation_timeout.)");

  type.def(
      "leave",
      [](BigMemory& pool, Int<std::uint32_t> flags) {
        return Code([&] {
          std::uint32_t bits = flags.Get("flags");
          return InLibrary(Gil::kRelease, [&] { return smem_bm_leave(pool.handle(), bits); });
        });
      },
      nb::arg("flags") = 0, nb::sig("def leave(self, flags: int = 0) -> int"),
      R"(Takes this rank's memory out of the pool.

Later copies of others to this rank fail with NOT_CONNECTED. It may join again.

flags: reserved.
Returns 0. NOT_STARTED (-2003): not joined.)");

  type.def(
      "local_mem_size",
      [](const BigMemory& pool, Member<smem_bm_mem_type> mem_type) -> std::uint64_t {
        return mem_type.fits
                   ? smem_bm_get_local_mem_size_by_mem_type(pool.handle(), mem_type.Get("mem_type"))
                   : 0;
      },
      nb::arg("mem_type") = SMEM_MEM_TYPE_DEVICE,
      nb::sig("def local_mem_size(self, mem_type: BmMemType | int = "
              "memfabric_hybrid.bm.BmMemType.DEVICE) -> int"),
      "The bytes of such memory that this rank contributes.");

  type.def(
      "peer_rank_ptr",
      [](const BigMemory& pool, Int<std::uint16_t> rank,
         Member<smem_bm_mem_type> mem_type) -> std::uint64_t {
        if (!rank.fits || !mem_type.fits) return 0;
        return reinterpret_cast<std::uint64_t>(
            smem_bm_ptr_by_mem_type(pool.handle(), mem_type.Get("mem_type"), rank.value));
      },
      nb::arg("peer_rank"), nb::arg("mem_type") = SMEM_MEM_TYPE_DEVICE,
      nb::sig("def peer_rank_ptr(self, peer_rank: int, mem_type: BmMemType | int = "
              "memfabric_hybrid.bm.BmMemType.DEVICE) -> int"),
      R"(The global address at which a rank's part begins.

peer_rank: any rank below the world size, joined or not.
mem_type: HOST or DEVICE.
Returns 0 for any other rank, and for memory that the pool has none of. On the same host the memory
    can be read and written directly once the rank has joined; view() is the safe way.)");

  type.def(
      "get_rank_id_by_gva",
      [](const BigMemory& pool, nb::handle gva) -> std::uint32_t {
        try {
          Address address(gva, "gva", Access::kRead);
          return smem_bm_get_rank_id_by_gva(pool.handle(),
                                            reinterpret_cast<void*>(address.value()));
        } catch (const Refused&) {
          return SMEM_BM_RANK_NONE;
        }
      },
      nb::arg("gva"),
      nb::sig("def get_rank_id_by_gva(self, gva: memfabric_hybrid._types.Address) -> int"),
      "The rank whose part holds the global address `gva`; 4294967295 for none.");

  type.def(
      "gva_to_va",
      [](const BigMemory& pool, nb::handle gva,
         Member<smem_bm_mem_type> mem_type) -> std::uint64_t {
        void* address = nullptr;
        std::int32_t code = Code([&] {
          Address global(gva, "gva", Access::kRead);
          return smem_bm_gva_to_va(pool.handle(), reinterpret_cast<void*>(global.value()),
                                   mem_type.Get("mem_type"), &address);
        });
        return code == SMEM_OK ? reinterpret_cast<std::uint64_t>(address) : 0;
      },
      nb::arg("gva"), nb::arg("mem_type") = SMEM_MEM_TYPE_LOCAL_HOST,
      nb::sig("def gva_to_va(self, gva: memfabric_hybrid._types.Address, "
              "mem_type: BmMemType | int = memfabric_hybrid.bm.BmMemType.LOCAL_HOST) -> int"),
      R"(The address at which this process can load and store what is at the global address `gva`.

Returns 0 when there is none: the rank is on another host, hasn't joined, or contributes no memory
    there.)");

  type.def(
      "register",
      [](BigMemory& pool, nb::handle addr, Int<std::uint64_t> size) {
        return Code([&] {
          Address address(addr, "addr", Access::kRead);
          std::uint64_t size_bytes = size.Get("size");
          address.CheckHolds(size_bytes, "addr");
          return InLibrary(Gil::kRelease, [&] {
            return smem_bm_register_user_mem(pool.handle(), address.value(), size_bytes);
          });
        });
      },
      nb::arg("addr"), nb::arg("size"),
      nb::sig("def register(self, addr: memfabric_hybrid._types.Address, size: int) -> int"),
      R"(Announces memory of this process that is often a copy's local side. Never required.

addr: the first byte, or the object that has the memory; keep that alive until unregister().
size: bytes, 1 and up.
Returns 0, also for the same range again. INVALID_PARAM (-2000): null or size 0. DUPLICATED_OBJECT
    (-2006): the range overlaps another registration.)");

  type.def(
      "unregister",
      [](BigMemory& pool, nb::handle addr) {
        return Code([&] {
          Address address(addr, "addr", Access::kRead);
          return InLibrary(Gil::kRelease, [&] {
            return smem_bm_unregister_user_mem(pool.handle(), address.value());
          });
        });
      },
      nb::arg("addr"),
      nb::sig("def unregister(self, addr: memfabric_hybrid._types.Address) -> int"),
      R"(Takes back the registration that begins at `addr`.

Returns 0. OBJECT_NOT_EXISTS (-2007): no such registration.)");

  type.def("copy_data", &BigMemory::Copy, nb::arg("src_ptr"), nb::arg("dst_ptr"), nb::arg("size"),
           nb::arg("type"), nb::arg("flags") = 0, nb::arg("stream") = 0,
           nb::arg("timeout") = nb::none(),
           nb::sig("def copy_data(self, src_ptr: memfabric_hybrid._types.Address, dst_ptr: "
                   "memfabric_hybrid._types.Address, "
                   "size: int, type: BmCopyType | int, flags: int = 0, stream: int = 0, timeout: "
                   "float | None = None) -> int"),
           R"(Copies `size` bytes between this process and the pool, or within the pool.

src_ptr, dst_ptr: an address (an int, or what a ctypes pointer such as c_void_p holds), or an object
    with contiguous memory: buffer protocol (numpy array, bytearray, memoryview),
    __array_interface__, data_ptr() (torch CPU tensor) or __dlpack__. A destination that can't be
    written to is a TypeError. The pool's side is a global address: peer_rank_ptr(rank) + offset.
size: bytes, 1 to 2**63 - 1. The global side lies in what its ranks contribute; an object holds at
    least as much.
type: BmCopyType; AUTO decides by the addresses.
flags: 0, or a sum of 1: return at once, and keep objects alive until wait(); 2: accepted, without
    effect; 4: `stream` is given. Other bits are ignored.
stream: has no effect, because pools have no device streams.
timeout: seconds for the call as a whole. None: the copy goes on as long as bytes move, and ends
    when none have moved for operation_timeout. It doesn't bound what flag 1 leaves to other
    threads.
Returns 0 once the bytes are in place at the destination and visible to its owner, after this
    thread's earlier copies. INVALID_PARAM (-2000): nothing was copied; get_last_err_msg() names the
    argument, its value and the limit. An int below 0 or above 2**64 - 1 is one case of it.
    NOT_CONNECTED (-2014): the peer hasn't joined, has left or died; the destination may hold a part
    of the bytes.
Threads: any. The GIL is released for more than 64 KiB and for every wait.

>>> there = pool.peer_rank_ptr(1, mf.bm.BmMemType.HOST)
>>> pool.copy_data(block, there, block.nbytes, mf.bm.BmCopyType.H2G)
0)");

  type.def("copy_data_batch", &BigMemory::CopyBatch, nb::arg("src_addrs"), nb::arg("dst_addrs"),
           nb::arg("sizes"), nb::arg("count"), nb::arg("type"), nb::arg("flags") = 0,
           nb::arg("stream") = 0, nb::arg("timeout") = nb::none(),
           nb::sig("def copy_data_batch(self, src_addrs: memfabric_hybrid._types.AddressList, "
                   "dst_addrs: memfabric_hybrid._types.AddressList, sizes: "
                   "memfabric_hybrid._types.IntList, count: int, "
                   "type: BmCopyType | int, flags: int = 0, stream: int = 0, timeout: float | None "
                   "= None) -> int"),
           R"(Makes `count` copies; all are checked before the first byte moves.

They take effect in the order of the lists: copies that share memory which one of them writes move
one after the other. Other copies move in any order, several at once.

src_addrs, dst_addrs: `count` addresses, in a list or tuple (whose elements may be whatever
    copy_data() takes), or a one-dimensional contiguous array of uint64 or int64, which is read
    without a copy. Other arrays of ints, and anything else that iterates, are slower.
sizes: `count` sizes in bytes, in the same forms; ints only.
count: 1 to 4294967295, the length of each of the three.
type: as copy_data(); AUTO is judged for each copy.
flags, stream, timeout: as copy_data().
Returns 0 once all bytes are in place. INVALID_PARAM (-2000): lengths that differ, count 0, a
    negative number, or any copy that copy_data() would refuse; nothing was copied. NOT_CONNECTED
    (-2014): as copy_data(); other copies of the batch may have been made.
Raises TypeError when an element is no address or int, and names it; also for arrays of other types
    or shapes.

>>> blocks = np.arange(4, dtype=np.uint64) * 4096
>>> sizes = np.full(4, 4096, np.uint64)
>>> pool.copy_data_batch(local + blocks, remote + blocks, sizes, 4, mf.bm.BmCopyType.H2G)
0)");

  type.def(
      "extend_local_mem",
      [](BigMemory& pool, Member<smem_bm_mem_type> mem_type, Int<std::uint64_t> size) {
        return Code([&] {
          smem_bm_mem_type type = mem_type.Get("mem_type");
          std::uint64_t size_bytes = size.Get("size");
          return InLibrary(Gil::kRelease, [&] {
            return smem_bm_extend_local_mem(pool.handle(), type, size_bytes);
          });
        });
      },
      nb::arg("mem_type") = SMEM_MEM_TYPE_HOST, nb::arg("size"),
      nb::sig("def extend_local_mem(self, mem_type: BmMemType | int = "
              "memfabric_hybrid.bm.BmMemType.HOST, size: int = ...) -> int"),
      R"(Adds memory to what this rank contributes, in place.

Peers reach the new part when it returns.

mem_type: HOST or DEVICE.
size: bytes to add, a multiple of 2 MiB. The sum is at most the pool's maximum. Required.
Returns 0.)");

  type.def("set_group_event_handler", &BigMemory::SetGroupEventHandler, nb::arg("fn").none(),
           nb::sig("def set_group_event_handler(self, fn: collections.abc.Callable[[int, "
                   "BmGroupEvent], object] | None) -> int"),
           R"(Sets the function that hears of other ranks' coming and going.

fn: called as fn(rank_id, BmGroupEvent) when another rank joins, leaves or dies; in order, on a
    thread of the library's, with the GIL. What it raises goes to sys.unraisablehook. At most 4096
    events wait; further ones are dropped with a warning. None removes the function.
Returns 0. This call, destroy() and uninitialize() wait until the former function isn't running,
    unless it makes the call itself. After 5 s a warning says so, and it is left to itself.)");

  type.def("wait", &BigMemory::Wait, nb::sig("def wait(self) -> int"),
           R"(Waits for all asynchronous copies (flags=1) that any thread issued on this object.

Asynchronous copies keep the order of their issue where they concern the same rank, and where one
writes what another reads or writes. The others run side by side, so that a slow rank delays no
copies to other ranks.

Returns 0, or the first error among those that ended since the last wait(). TIMEOUT (-2004):
    operation_timeout has passed, and copies are still under way.)");

  type.def("destroy", &BigMemory::Destroy, nb::sig("def destroy(self) -> None"),
           R"(Leaves the pool and gives this rank's memory back; a second call does nothing.

Other methods then fail with OBJECT_NOT_EXISTS. Views stay valid.)");

  type.def(
      "path",
      [](const BigMemory& pool, Int<std::uint32_t> peer_rank) {
        return OrRaise([&] {
          std::uint32_t rank = peer_rank.Get("peer_rank");
          char path[SMEM_BM_PATH_SIZE];
          std::int32_t code = InLibrary(Gil::kRelease, [&] {
            return smem_bm_get_path(pool.handle(), rank, path, sizeof(path));
          });
          if (code != SMEM_OK) RaiseLastError();
          return Text(path);
        });
      },
      nb::arg("peer_rank"), nb::sig("def path(self, peer_rank: int) -> str"),
      R"(The path that copies between this rank and another take.

Returns 'mapped' (the same host: loads and stores), 'tcp' or 'tcp+tls'.
Raises RuntimeError when the rank isn't there.)");

  type.def("view", &BigMemory::View, nb::arg("rank"), nb::arg("mem_type") = SMEM_MEM_TYPE_HOST,
           nb::sig("def view(self, rank: int, mem_type: BmMemType | int = "
                   "memfabric_hybrid.bm.BmMemType.HOST) -> memoryview"),
           R"(What a rank of the same host contributes, as writable memory, without a copy.

The memory stays mapped as long as the view (or what was made of it, such as a numpy array) exists,
also after the rank has died and the pool has been destroyed.
Raises RuntimeError: the rank hasn't joined, is on another host, or contributes no such memory.

>>> np.frombuffer(pool.view(1), np.uint8)[:4]
array([0, 0, 0, 0], dtype=uint8))");

  type.def("members", &BigMemory::Members, nb::sig("def members(self) -> list[Member]"),
           R"(The ranks that have joined, this one included, by rank.

Raises RuntimeError when the pool is destroyed.)");

  type.def("stats", &BigMemory::Stats,
           nb::sig("def stats(self) -> dict[int, dict[str, dict[str, int]]]"),
           R"(What has gone to and from each rank since the pool was created.

Returns rank -> path -> counts, without those that are all 0. The paths are those of path(), and
    'none' where there was no path. bytes: copied; a copy counts at each rank whose memory it read
    or wrote. operations: copies, elements of batches, and pieces of large ones. errors: tries that
    failed because the rank could not be reached. retries: tries to reach it again.
Raises RuntimeError when the pool is destroyed.

>>> pool.stats()
{1: {'mapped': {'bytes': 4096, 'operations': 1, 'errors': 0, 'retries': 0}}})");

  type.def("__repr__", &BigMemory::Repr);
}

BigMemory* Create(Int<std::uint32_t> id, Int<std::uint64_t> dram, Int<std::uint64_t> hbm,
                  Member<smem_bm_data_op_type> op, Int<std::uint32_t> flags) {
  return OrRaise([&] {
    std::uint32_t number = id.Get("id");
    std::uint64_t dram_bytes = dram.Get("local_dram_size");
    std::uint64_t hbm_bytes = hbm.Get("local_hbm_size");
    smem_bm_data_op_type type = op.Get("data_op_type");
    std::uint32_t bits = flags.Get("flags");
    auto pool = std::make_unique<BigMemory>(number);
    InLibrary(Gil::kRelease,
              [&] { pool->Adopt(smem_bm_create(number, 0, type, dram_bytes, hbm_bytes, bits)); });
    if (pool->handle() == nullptr) RaiseLastError();
    return pool.release();
  });
}

void CopyTag(std::string_view text, const char* name, char* to, std::size_t room) {
  std::string tag = CString(text, name);
  if (tag.size() >= room) {
    throw Refused{std::string(name) + " is " + std::to_string(tag.size()) +
                  " bytes long, the limit is " + std::to_string(room - 1)};
  }
  std::copy_n(tag.c_str(), tag.size() + 1, to);
}

BigMemory* Create2(Int<std::uint32_t> id, Int<std::uint64_t> dram, Int<std::uint64_t> max_dram,
                   Int<std::uint64_t> hbm, Int<std::uint64_t> max_hbm,
                   Member<smem_bm_data_op_type> op, Flag enable_56bits_gva,
                   Int<std::uint32_t> flags, Int<std::int64_t> shm_fd, Str tag, Str tag_op_info) {
  return OrRaise([&] {
    std::uint32_t number = id.Get("id");
    smem_bm_create_option_t option{};
    option.maxDramSize = max_dram.Get("max_dram_size");
    option.maxHbmSize = max_hbm.Get("max_hbm_size");
    option.localDRAMSize = dram.Get("local_dram_size");
    option.localHBMSize = hbm.Get("local_hbm_size");
    option.dataOpType = op.Get("data_op_type");
    option.enable56BitsGva = enable_56bits_gva.value;
    option.flags = flags.Get("flags");
    CopyTag(tag, "tag", option.tag, sizeof(option.tag));
    CopyTag(tag_op_info, "tag_op_info", option.tagOpInfo, sizeof(option.tagOpInfo));
    bool no_fd = !shm_fd.fits || shm_fd.value < 0 || shm_fd.value > INT32_MAX;
    option.dramShmFd = no_fd ? -1 : static_cast<int>(shm_fd.value);
    auto pool = std::make_unique<BigMemory>(number);
    InLibrary(Gil::kRelease, [&] { pool->Adopt(smem_bm_create2(number, &option)); });
    if (pool->handle() == nullptr) RaiseLastError();
    return pool.release();
  });
}

}  // namespace

void BindBm(nb::module_& module) {
  BindEnums(module);
  BindBmConfig(module);
  BindMember(module);
  BindBigMemory(module);

  module.def(
      "initialize",
      [](Str store_url, Int<std::uint32_t> world_size, Int<std::uint16_t> device_id,
         const BmConfig& config) {
        return Code([&] {
          std::string url = CString(store_url, "store_url");
          std::uint32_t ranks = world_size.Get("world_size");
          std::uint16_t device = device_id.Get("device_id");
          smem_bm_config_t settings = config.ToC();
          return InLibrary(Gil::kRelease,
                           [&] { return smem_bm_init(url.c_str(), ranks, device, &settings); });
        });
      },
      nb::arg("store_url"), nb::arg("world_size"), nb::arg("device_id"), nb::arg("config"),
      nb::sig("def initialize(store_url: str | bytes, world_size: int, device_id: int, config: "
              "BmConfig) -> int"),
      R"(Takes a rank of the job at a store; returns once this process has it.

store_url: 'tcp://host:port' (served by one of the ranks, see BmConfig.start_store) or
    'etcd://h1:p1,h2:p2[/prefix]'.
world_size: how many ranks there may be, 1 to 1024; far fewer may ever come.
device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
config: BmConfig.
Returns 0, also when called again with equal arguments; with others REPEAT_CALL (-2005).
    INVALID_PARAM (-2000): get_last_err_msg() names the argument, its value and the limit.
    DUPLICATED_OBJECT (-2006): a live process holds the rank; the message names it.
    RESOURCE_IN_USE (-2009): all ranks are taken, or something else has the store's port.
    TIMEOUT (-2004), NOT_CONNECTED (-2014): the store didn't answer within init_timeout.

>>> config = mf.bm.BmConfig()
>>> config.rank_id = 0
>>> mf.bm.initialize('tcp://127.0.0.1:8570', 2, 0, config)
0)");

  module.def(
      "uninitialize",
      [](Int<std::uint32_t> flags) {
        InLibrary(Gil::kRelease, [&] { smem_bm_uninit(flags.value); });
      },
      nb::arg("flags") = 0, nb::sig("def uninitialize(flags: int = 0) -> None"),
      R"(Destroys this process's pools and gives its rank back. Harmless when not initialized.

flags: reserved.)");

  module.def(
      "bm_rank_id", [] { return smem_bm_get_rank_id(); }, nb::sig("def bm_rank_id() -> int"),
      "This process's rank; 4294967295 before initialize().");

  module.def(
      "update_store_url",
      [](Str store_url) {
        return Code([&] {
          std::string url = CString(store_url, "store_url");
          return InLibrary(Gil::kRelease, [&] { return smem_bm_update_store_url(url.c_str()); });
        });
      },
      nb::arg("store_url"), nb::sig("def update_store_url(store_url: str | bytes) -> int"),
      R"(Goes to the store's new place: connects there and publishes this rank again.

Data paths go on meanwhile.

store_url: as initialize().
Returns 0. NOT_INITIALIZED (-2008): before initialize().)");

  module.def("create", &Create, nb::arg("id"), nb::arg("local_dram_size"),
             nb::arg("local_hbm_size") = 0, nb::arg("data_op_type") = SMEMB_DATA_OP_SDMA,
             nb::arg("flags") = 0,
             nb::sig("def create(id: int, local_dram_size: int, local_hbm_size: int = 0, "
                     "data_op_type: BmDataOpType | int = memfabric_hybrid.bm.BmDataOpType.SDMA, "
                     "flags: int = 0) -> BigMemory"),
             R"(Opens pool `id` with memory of this rank, which BigMemory.join() makes part of it.

id: 0 to 63; a process opens each at most once.
local_dram_size, local_hbm_size: bytes of host and device memory that this rank contributes,
    multiples of 2 MiB, up to 2 TiB and 64 GiB. The pool's maximum a rank is what the first
    contributing rank gives. Less is fine, more is an error; create2() sets the maximum. A rank that
    contributes nothing waits up to create_timeout for the first that does.
data_op_type: BmDataOpType.
flags: bits 0-6: NUMA node, 127 for automatic; a node that doesn't exist is a warning, with
    MEMFABRIC_STRICT=1 an error. Bit 7: fault the memory in at once. Bit 8: see create2(). Bits 9
    and 10: hints.
Raises RuntimeError with a message that names the argument, its value and the limit. Nothing is left
    behind.

>>> pool = mf.bm.create(0, 1 << 30)
>>> pool.join()
0)");

  module.def(
      "create2", &Create2, nb::arg("id"), nb::arg("local_dram_size"), nb::arg("max_dram_size"),
      nb::arg("local_hbm_size") = 0, nb::arg("max_hbm_size") = 0,
      nb::arg("data_op_type") = SMEMB_DATA_OP_SDMA, nb::arg("enable_56bits_gva").none() = false,
      nb::arg("flags") = 0, nb::arg("shm_fd") = -1, nb::arg("tag") = "",
      nb::arg("tag_op_info") = "",
      nb::sig(
          "def create2(id: int, local_dram_size: int, max_dram_size: int, local_hbm_size: int = 0, "
          "max_hbm_size: int = 0, data_op_type: BmDataOpType | int = "
          "memfabric_hybrid.bm.BmDataOpType.SDMA, "
          "enable_56bits_gva: bool = False, flags: int = 0, shm_fd: int = -1, tag: str = '', "
          "tag_op_info: str = '') -> BigMemory"),
      R"(Opens a pool as create() does, with a given maximum a rank.

max_dram_size, max_hbm_size: bytes, multiples of 2 MiB, not both 0, the same on all ranks. A
    mismatch is an error that names the rank and both values. BigMemory.extend_local_mem() grows up
    to them.
enable_56bits_gva: addresses are numbers above 2**48; BigMemory.gva_to_va() gives usable ones.
flags: as create(). Bit 8: host memory is that of the file `shm_fd`.
shm_fd: ignored without bit 8.
tag, tag_op_info: the user's own, at most 31 and 255 bytes.
Raises RuntimeError.)");
}

}  // namespace memfabric::python
