// TransferEngine, Stream and alloc: names, signatures and what help() says. What they do is in
// transfer_engine.cc.

#include <memfabric/smem_trans.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <span>
#include <string>

#include "calls.h"
#include "memory.h"
#include "modules.h"
#include "transfer_engine.h"

namespace memfabric::python {
namespace {

enum class TransferOpcode { kRead = 0, kWrite = 1 };

// An enum's alias, also where it keeps those.
void Alias(nb::handle type, const char* alias, const char* name) {
  nb::object member = type.attr(name);
  nb::setattr(type, alias, member);
  nb::borrow<nb::dict>(type.attr("_member_map_"))[alias] = member;
}

void BindEnums(nb::module_& module) {
  nb::enum_<TransferOpcode> opcode(module, "TransferOpcode", nb::is_arithmetic(),
                                   "The direction of a transfer.");
  opcode.value("READ", TransferOpcode::kRead, "From the peer; Read is another name of it.")
      .value("WRITE", TransferOpcode::kWrite, "To the peer; Write is another name of it.");
  Alias(opcode, "Read", "READ");
  Alias(opcode, "Write", "WRITE");

  nb::enum_<smem_trans_data_op_type>(module, "TransDataOpType", nb::is_arithmetic(),
                                     R"(The path that an engine's transfers should take.

Where the machine doesn't have it, the best of its paths is taken and a warning says so;
TransferEngine.path() tells which. With the environment variable MEMFABRIC_STRICT=1 initialize()
fails instead.)")
      .value("SDMA", SMEM_TRANS_OP_SDMA, "The best path of this machine.")
      .value("HOST_RDMA", SMEM_TRANS_OP_HOST_RDMA, "RDMA from host memory.")
      .value("DEVICE_RDMA", SMEM_TRANS_OP_DEVICE_RDMA, "RDMA from device memory.")
      .value("DEVICE_URMA", SMEM_TRANS_OP_DEVICE_URMA, "URMA from device memory.")
      .value("DEVICE_UBOE", SMEM_TRANS_OP_DEVICE_UBOE, "UBOE from device memory.");
}

nb::object Alloc(Int<std::uint64_t> size) {
  return OrRaise([&]() -> nb::object {
    std::uint64_t size_bytes = size.Get("size");
    void* address =
        InLibrary(Gil::kRelease, [&] { return smem_trans_malloc(nullptr, size_bytes, 0); });
    if (address == nullptr) RaiseLastError();
    return ViewOf(std::make_unique<Memory>(address, size_bytes, address,
                                           [](void* own) { smem_trans_free(nullptr, own); }));
  });
}

int Traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (nb::inst_ready(self))
    Py_VISIT(nb::inst_ptr<TransferEngine>(self)->peer_down_function().ptr());
  return 0;
}

int Clear(PyObject* self) {
  if (nb::inst_ready(self))
    nb::object former = std::move(nb::inst_ptr<TransferEngine>(self)->peer_down_function());
  return 0;
}

PyType_Slot kEngineSlots[] = {{Py_tp_traverse, reinterpret_cast<void*>(Traverse)},
                              {Py_tp_clear, reinterpret_cast<void*>(Clear)},
                              {0, nullptr}};

void BindStream(nb::module_& module) {
  nb::class_<Stream>(module, "Stream", nb::is_weak_referenceable(),
                     R"(Transfers that run one after the other, beside the caller.

Any number of streams may be used at once, each by any engine and any thread. Objects that a
transfer reads or writes are kept alive until synchronize(), or until query() returns True.)")
      .def(nb::init<>())
      .def_prop_ro(
          "handle",
          [](const Stream& stream) { return reinterpret_cast<std::uintptr_t>(stream.handle()); },
          nb::sig("def handle(self) -> int"),
          "What the submit functions take instead of the object.")
      .def("synchronize", &Stream::Synchronize, nb::sig("def synchronize(self) -> int"),
           R"(Waits for all that was submitted before.

Returns 0, or the first error since the last synchronize(), once. A transfer of which nothing moves
for 120 s ends with TIMEOUT (-2004).)")
      .def("query", &Stream::Query, nb::sig("def query(self) -> bool"),
           R"(Whether all that was submitted has ended.

Errors stay for synchronize(). Raises RuntimeError once the stream is destroyed.)")
      .def("destroy", &Stream::Destroy, nb::sig("def destroy(self) -> None"),
           R"(Waits for what was submitted and ends the stream.

A stream that is no longer referred to is destroyed, too.)");
}

constexpr const char* kTransferDoc = R"(; returns when the bytes are in place.

destflag: the peer's unique_id. (dest_session is another name of it, peer_buffer of
    peer_buffer_address.)
buffer: an address (int, ctypes.c_void_p) or an object with memory (numpy array, torch CPU tensor,
    bytearray). It need not be registered.
peer_buffer_address: an address of the peer's, in memory that the peer has registered: in one range,
    or in ranges that touch.
length: bytes, 1 to 2**63 - 1.
flags: reserved.
timeout: seconds for the call as a whole; then TIMEOUT (-2004). None: the call goes on as long as
    bytes move, and ends when none have moved for 120 s.
Returns 0 once the bytes are in place and visible to the peer, after this thread's earlier
    transfers. INVALID_PARAM (-2000): null, length 0, memory that isn't registered there, or memory
    that isn't mapped; the message names the address. NOT_CONNECTED (-2014): the peer didn't appear
    within 5 s (MEMFABRIC_PEER_TIMEOUT), has left or died; a part of the bytes may have arrived.
Threads: any. The GIL is released for more than 64 KiB and for every wait.)";

constexpr const char* kBatchDoc = R"( in pieces; returns when all are in place.

The pieces go in as few system calls as possible.

buffers, peer_buffer_addresses: addresses, in a list, a tuple, or anything else that iterates over
    them. A one-dimensional contiguous array of uint64 or int64 is read without a copy.
lengths: as many ints, in the same forms.
destflag, flags, timeout, and what is returned: as for one piece. After an error some pieces may
    have arrived. INVALID_PARAM (-2000) also for lists that are empty or of different lengths;
    nothing was moved then.
Raises TypeError when an element is no address or int, and names it.)";

constexpr const char* kSubmitDoc = R"( on a stream; returns at once.

stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
The call checks the arguments and copies lists. The memory must stay until the stream is
synchronized; Stream.synchronize() returns what goes wrong later.
Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that doesn't exist.)";

// The names that a transfer function's arguments have.
struct Names {
  const char* peer;
  const char* buffer;
  const char* remote;
  const char* length;
};
constexpr Names kNames[] = {{"destflag", "buffer", "peer_buffer_address", "length"},
                            {"dest_session", "buffer", "peer_buffer", "length"}};
constexpr Names kBatchNames[] = {{"destflag", "buffers", "peer_buffer_addresses", "lengths"},
                                 {"destflag", "buffer", "peer_buffer_address", "length"},
                                 {"dest_session", "buffers", "peer_buffers", "lengths"}};

// A transfer function, once for each set of names: those of the documentation first.
template <bool write, bool batch, bool submit>
void BindTransfer(nb::class_<TransferEngine>& type) {
  const std::string name = std::string(batch ? "batch_" : "") + "transfer_" +
                           (submit ? "async_" : "sync_") + (write ? "write" : "read") +
                           (submit ? "_submit" : "");
  const std::string doc =
      std::string(write ? "Writes to a peer's memory" : "Reads a peer's memory") +
      (submit  ? kSubmitDoc
       : batch ? kBatchDoc
               : kTransferDoc);
  const std::string address =
      batch ? "memfabric_hybrid._types.AddressList" : "memfabric_hybrid._types.Address";
  std::span<const Names> all = kNames;
  if (batch) all = kBatchNames;
  for (const Names& names : all) {
    std::string signature = "def " + name + "(self, " + names.peer + ": str | bytes, " +
                            names.buffer + ": " + address + ", " + names.remote + ": " + address +
                            ", " + names.length + ": " +
                            (batch ? "memfabric_hybrid._types.IntList" : "int") + ", " +
                            (submit ? "stream: Stream | int, flags: int = 0"
                                    : "flags: int = 0, timeout: float | None = None") +
                            ") -> int";
    const char* text =
        &names == &all.front() ? doc.c_str() : "The same, by other names of its arguments.";
    if constexpr (submit) {
      type.def(
          name.c_str(),
          [](TransferEngine& engine, Str to, nb::handle local, nb::handle there, nb::handle size,
             nb::handle stream, nb::handle) {
            Move move{write, local, there, size};
            return batch ? engine.SubmitBatch(to, move, stream)
                         : engine.SubmitOne(to, move, stream);
          },
          nb::arg(names.peer), nb::arg(names.buffer), nb::arg(names.remote), nb::arg(names.length),
          nb::arg("stream"), nb::arg("flags") = 0, nb::sig(signature.c_str()), text);
    } else {
      type.def(
          name.c_str(),
          [](TransferEngine& engine, Str to, nb::handle local, nb::handle there, nb::handle size,
             nb::handle, nb::handle seconds) {
            return Code([&] {
              CallTimeout timeout(seconds);
              Move move{write, local, there, size};
              return batch ? engine.TransferBatch(to, move) : engine.TransferOne(to, move);
            });
          },
          nb::arg(names.peer), nb::arg(names.buffer), nb::arg(names.remote), nb::arg(names.length),
          nb::arg("flags") = 0, nb::arg("timeout") = nb::none(), nb::sig(signature.c_str()), text);
    }
  }
}

void BindInitialize(nb::class_<TransferEngine>& type) {
  constexpr const char* kDoc = R"(Makes the engine ready for transfers, and returns when it is.

store_url: 'tcp://host:port' or 'etcd://h1:p1,h2:p2[/prefix]': a store where all engines find each
    other by name. '', 'tcp://host' or the engine's own unique_id: no shared store. Then each engine
    serves its record at its own address, unique_id is 'ip:port', and peers call the engine that. A
    bare ip or host name gets the port of get_rpc_port(), and peers call the engine what `name`
    says.
unique_id: the engine's name, 1 to 255 printable characters without '/'. (session_id is another name
    of this argument.)
role: 'Prefill', 'Decode' or 'Both'. Any two engines may transfer, either way.
device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
data_op_type: TransDataOpType.
store_server_role: an engine of this role starts the store, if store_url is on its own host and no
    store answers there. '' or None: 'Decode'.
nic: as BmConfig.set_nic takes it; '' or None: the library chooses. The engine listens at the first
    free port of the given one and the 1,024 behind it. Port 0, or none: the kernel's choice.
Returns 0, also when called again with equal arguments; with others REPEAT_CALL (-2005).
    DUPLICATED_OBJECT (-2006): a live engine has the name; the message names its process.
    TIMEOUT (-2004), NOT_CONNECTED (-2014): the store didn't answer within 120 s.

>>> engine = mf.TransferEngine()
>>> engine.initialize('tcp://127.0.0.1:8570', 'decode-0', 'Decode', 0)
0)";
  for (bool later : {false, true}) {
    const char* name = later ? "session_id" : "unique_id";
    std::string signature =
        std::string("def initialize(self, store_url: str | bytes, ") + name +
        ": str | bytes, role: str | bytes, device_id: int, data_op_type: TransDataOpType | int = "
        "memfabric_hybrid.TransDataOpType.SDMA, "
        "store_server_role: str | bytes | None = 'Decode', nic: str | bytes | None = '') -> int";
    type.def("initialize", &TransferEngine::Initialize, nb::arg("store_url"), nb::arg(name),
             nb::arg("role"), nb::arg("device_id"), nb::arg("data_op_type") = SMEM_TRANS_OP_SDMA,
             nb::arg("store_server_role").none() = "Decode", nb::arg("nic").none() = "",
             nb::sig(signature.c_str()),
             later ? "The same, by the names of later releases." : kDoc);
  }
}

}  // namespace

void BindTransfer(nb::module_& module) {
  BindEnums(module);
  BindStream(module);
  module.def(
      "alloc", &Alloc, nb::arg("size"), nb::sig("def alloc(size: int) -> memoryview"),
      R"(Memory that engines of the same host map: transfers to it run at the speed of memory.

size: bytes, 1 and up.
Returns zeros, backed by pages of 2 MiB when they are first touched or registered. Register them
    like other memory. The memory stays as long as the memoryview, what was made of it, or a
    registration in it exists. A forked child shares it.
Raises RuntimeError when there is no memory.)");

  nb::class_<TransferEngine> type(module, "TransferEngine", nb::is_weak_referenceable(),
                                  nb::type_slots(kEngineSlots),
                                  R"(Reads and writes between memory that two processes own already.

An engine has a name and registers memory. Peers read and write that memory by the engine's own
addresses. A process may have several engines. An engine that is no longer referred to is destroyed.

    engine = mf.TransferEngine()
    engine.initialize('tcp://127.0.0.1:8570', 'prefill-0', 'Prefill', 0)
    engine.register_memory(cache, cache.nbytes)  # peers may reach it from now on
    # an address that decode-0 has registered
    engine.transfer_sync_write('decode-0', block, address, block.nbytes)

Functions that return a code return 0 or a negative ErrorCode; get_last_err_msg() says why.)");
  type.def(nb::init<>());
  BindInitialize(type);
  type.def("get_rpc_port", &TransferEngine::RpcPort, nb::sig("def get_rpc_port(self) -> int"),
           R"(A port of 15000 to 25000 that no other engine of this host gets.

The engine holds it until it is destroyed, and gives the same each time, also before initialize(). A
server of the caller's may listen there.
Returns a negative ErrorCode when no port is free.)");
  type.def("register_memory", &TransferEngine::Register, nb::arg("buffer_addr"),
           nb::arg("capacity"),
           nb::sig("def register_memory(self, buffer_addr: memfabric_hybrid._types.Address, "
                   "capacity: int) -> int"),
           R"(Lets peers read and write memory, from the moment that this returns.

buffer_addr: an address (int) or an object with memory. The object is not kept alive: unregister it
    before it goes.
capacity: bytes, 1 and up. No alignment is asked.
Returns 0, also for the same range again. INVALID_PARAM (-2000): null or 0. DUPLICATED_OBJECT
    (-2006): the range overlaps another registration; ranges that touch are fine.)");
  type.def(
      "unregister_memory", &TransferEngine::Unregister, nb::arg("buffer_addr"),
      nb::sig("def unregister_memory(self, buffer_addr: memfabric_hybrid._types.Address) -> int"),
      R"(Ends the registration that begins at `buffer_addr`.

Waits for transfers in flight. Afterwards no transfer touches the memory.
Returns 0. OBJECT_NOT_EXISTS (-2007): no such registration. TIMEOUT (-2004): a peer's transfer has
    not ended within 10 s, because the peer is stopped; don't reuse the memory, call again.)");
  type.def(
      "batch_register_memory", &TransferEngine::RegisterBatch, nb::arg("buffer_addrs"),
      nb::arg("capacities"),
      nb::sig("def batch_register_memory(self, buffer_addrs: memfabric_hybrid._types.AddressList, "
              "capacities: memfabric_hybrid._types.IntList) -> int"),
      R"(Registers up to 1,048,576 ranges, all or none.

buffer_addrs, capacities: lists as batch_transfer_sync_write() takes them.
Returns 0. Errors as register_memory().)");
  BindTransfer<true, false, false>(type);
  BindTransfer<false, false, false>(type);
  BindTransfer<true, true, false>(type);
  BindTransfer<false, true, false>(type);
  BindTransfer<true, false, true>(type);
  BindTransfer<false, false, true>(type);
  BindTransfer<true, true, true>(type);
  BindTransfer<false, true, true>(type);
  type.def("set_peer_down_callback", &TransferEngine::SetPeerDown, nb::arg("fn").none(),
           nb::sig("def set_peer_down_callback(self, fn: collections.abc.Callable[[str], object] | "
                   "None) -> int"),
           R"(Sets the function that hears of peers that die.

fn: called as fn(unique_id), once for each linked peer that dies, on a thread of the library's, with
    the GIL; not for a peer that is destroyed in order. What it raises goes to sys.unraisablehook.
    Nothing waits for it, as for BigMemory.set_group_event_handler(). Without a shared store it
    hears only of peers that this engine has named. None removes it.
Returns 0.)");
  type.def("path", &TransferEngine::Path, nb::arg("destflag"),
           nb::sig("def path(self, destflag: str | bytes) -> str"),
           R"(The path that transfers with a peer take.

Returns 'cma' (the same host; memory of alloc() and empty() goes by 'mapped'), 'mapped' (the same
    host; only memory of alloc() and empty() can be reached), 'tcp' or 'tcp+tls'.
Raises RuntimeError when the peer can't be reached.)");
  type.def_prop_ro("name", &TransferEngine::Name, nb::sig("def name(self) -> str"),
                   "What peers call the engine: unique_id, with the port if one was taken.");
  type.def("destroy", &TransferEngine::Destroy, nb::sig("def destroy(self) -> None"),
           R"(Ends the engine; a second call does nothing.

Waits for transfers in flight. Afterwards no transfer touches this process's memory.)");
  type.def("unInitialize", &TransferEngine::Destroy, nb::sig("def unInitialize(self) -> None"),
           "The same as destroy().");
  type.def("__repr__", &TransferEngine::Repr);
  type.attr("TransferOpcode") = module.attr("TransferOpcode");
  type.attr("TransDataOpType") = module.attr("TransDataOpType");
}

}  // namespace memfabric::python
