#include "share_memory.h"

#include <memfabric/smem_shm_device.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "big_memory.h"
#include "calls.h"

namespace memfabric::python {
namespace {

constexpr std::uint64_t kLongCopyBytes = 64 << 10;  // above it the GIL is released

Gil GilFor(std::uint64_t size_bytes) {
  return size_bytes > kLongCopyBytes ? Gil::kRelease : Gil::kKeepWhileShort;
}

// The bytes of an object, or as many as `size` says of what is at an address.
std::uint64_t SizeOf(const Address& memory, const char* name, nb::handle size) {
  std::uint64_t size_bytes = 0;
  if (size.is_none()) {
    if (!memory.size_bytes().has_value())
      throw nb::type_error((std::string(name) + " is an address: give its size").c_str());
    return *memory.size_bytes();
  }
  bool fits = false;
  if (!ReadInt(size, 0, UINT64_MAX, &size_bytes, &fits))
    throw nb::type_error("size: expected an int or None");
  if (!fits) RefuseNumber(size, "size", "0", std::to_string(UINT64_MAX));
  memory.CheckHolds(size_bytes, name);
  return size_bytes;
}

// A sub-group as Python names it: (key, size, rank).
struct Subgroup {
  std::string key;
  std::uint32_t size = 0;
  std::uint32_t rank = 0;
};

Subgroup ReadSubgroup(nb::handle group) {
  Str key;
  if (!PyTuple_Check(group.ptr()) || PyTuple_GET_SIZE(group.ptr()) != 3 ||
      !nb::try_cast(nb::handle(PyTuple_GET_ITEM(group.ptr(), 0)), key))
    throw nb::type_error("group: expected (key: str, size: int, rank: int) or None");
  Subgroup subgroup;
  subgroup.key = CString(key, "the group's key");
  std::uint32_t* numbers[] = {&subgroup.size, &subgroup.rank};
  for (int i = 0; i < 2; ++i) {
    std::uint64_t value = 0;
    bool fits = false;
    nb::handle number = PyTuple_GET_ITEM(group.ptr(), i + 1);
    if (!ReadInt(number, 0, UINT32_MAX, &value, &fits))
      throw nb::type_error("group: its size and rank are ints");
    if (!fits)
      RefuseNumber(number, i == 0 ? "the group's size" : "the rank in the group", "0",
                   std::to_string(UINT32_MAX));
    *numbers[i] = static_cast<std::uint32_t>(value);
  }
  return subgroup;
}

struct Kind {
  const char* name;
  nb::dlpack::dtype type;
};
const Kind kKinds[] = {
    {"uint8", nb::dtype<std::uint8_t>()},
    {"int8", nb::dtype<std::int8_t>()},
    {"uint16", nb::dtype<std::uint16_t>()},
    {"int16", nb::dtype<std::int16_t>()},
    {"uint32", nb::dtype<std::uint32_t>()},
    {"int32", nb::dtype<std::int32_t>()},
    {"uint64", nb::dtype<std::uint64_t>()},
    {"int64", nb::dtype<std::int64_t>()},
    {"float32", nb::dtype<float>()},
    {"float64", nb::dtype<double>()},
    {"float16", {2, 16, 1}},
    {"bfloat16", {4, 16, 1}},
};

}  // namespace

std::uint64_t Word::Get(const char* name) const {
  if (!fits) RefuseNumber(source, name, std::to_string(INT64_MIN), std::to_string(UINT64_MAX));
  return value;
}

ShareMemory::ShareMemory(smem_shm_t handle, std::uint32_t id, void* gva)
    : handle_(handle), id_(id), gva_(reinterpret_cast<std::uint64_t>(gva)) {
  if (handle_ == nullptr) return;
  rank_ = smem_shm_get_global_rank(handle_);
  rank_size_ = smem_shm_get_global_rank_size(handle_);
  symmetric_size_ = smem_shm_get_symmetric_size(handle_);
}

ShareMemory::~ShareMemory() {
  if (handle_ == nullptr || destroyed_) return;
  Call call(Gil::kRelease, /*interruptible=*/false);
  smem_shm_destroy(handle_, 0);
}

std::string ShareMemory::Repr() const {
  std::string text = "<ShareMemory id=" + std::to_string(id_);
  if (destroyed_) return text + " destroyed>";
  return text + " rank=" + std::to_string(rank_) + " of " + std::to_string(rank_size_) +
         " size=" + SizeText(symmetric_size_) + ">";
}

std::int32_t ShareMemory::SetContext(nb::handle context) {
  return Code([&] {
    Address bytes(context, "context", Access::kRead);
    std::uint64_t size_bytes = SizeOf(bytes, "context", nb::none());
    if (size_bytes > UINT32_MAX)
      throw Refused{"context has " + std::to_string(size_bytes) + " bytes; the limit is " +
                    std::to_string(SMEM_SHM_CONTEXT_MAX)};
    return smem_shm_set_extra_context(handle_, reinterpret_cast<const void*>(bytes.value()),
                                      static_cast<std::uint32_t>(size_bytes));
  });
}

std::int32_t ShareMemory::Destroy(Int<std::uint32_t> flags) {
  return Code([&] {
    std::uint32_t bits = flags.Get("flags");
    std::int32_t code = InLibrary(Gil::kRelease, [&] { return smem_shm_destroy(handle_, bits); });
    destroyed_ = true;
    in_flight_.clear();
    return code;
  });
}

std::int32_t ShareMemory::Barrier(nb::handle group) {
  return Code([&] {
    if (group.is_none())
      return InLibrary(Gil::kRelease, [&] { return smem_shm_control_barrier(handle_); });
    Subgroup subgroup = ReadSubgroup(group);
    return InLibrary(Gil::kRelease, [&] {
      return smem_shm_subgroup_barrier(handle_, subgroup.key.c_str(), subgroup.size, subgroup.rank);
    });
  });
}

nb::bytes ShareMemory::AllGather(nb::handle local_data, nb::handle group) {
  return OrRaise([&]() -> nb::bytes {
    Address own(local_data, "local_data", Access::kRead);
    std::uint64_t size_bytes = SizeOf(own, "local_data", nb::none());
    if (size_bytes < 1 || size_bytes > SMEM_SHM_MAX_GATHER_BYTES)
      throw Refused{"local_data has " + std::to_string(size_bytes) +
                    " bytes; it must have from 1 to " + std::to_string(SMEM_SHM_MAX_GATHER_BYTES)};
    Subgroup subgroup;
    if (!group.is_none()) subgroup = ReadSubgroup(group);
    std::uint64_t ranks = group.is_none() ? rank_size_ : subgroup.size;
    if (ranks > SMEM_MAX_RANKS)
      throw Refused{"the group's size is " + std::to_string(ranks) + ", the limit is " +
                    std::to_string(SMEM_MAX_RANKS)};
    nb::object gathered =
        nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size_bytes * ranks)));
    if (!gathered.is_valid()) throw nb::python_error();
    auto size = static_cast<std::uint32_t>(size_bytes);
    auto all = static_cast<std::uint32_t>(size_bytes * ranks);
    const char* send = reinterpret_cast<const char*>(own.value());
    char* recv = PyBytes_AS_STRING(gathered.ptr());
    std::int32_t code = InLibrary(Gil::kRelease, [&] {
      if (group.is_none()) return smem_shm_control_allgather(handle_, send, size, recv, all);
      return smem_shm_subgroup_allgather(handle_, subgroup.key.c_str(), subgroup.size,
                                         subgroup.rank, send, size, recv, all);
    });
    if (code != SMEM_OK) RaiseLastError();
    return nb::borrow<nb::bytes>(gathered);
  });
}

std::int32_t ShareMemory::TopologyCanReach(Int<std::uint32_t> rank, nb::handle reach_info) {
  return Code([&] {
    bool list = PyList_Check(reach_info.ptr());
    Py_buffer buffer{};
    if (!list && !PyLong_Check(reach_info.ptr())) {
      if (PyObject_GetBuffer(reach_info.ptr(), &buffer, PyBUF_WRITABLE) != 0) {
        PyErr_Clear();
        throw nb::type_error(
            "reach_info: expected a writable buffer of 4 bytes (ctypes.c_uint32), a list or an "
            "int");
      }
    }
    std::unique_ptr<Py_buffer, decltype(&PyBuffer_Release)> release(
        buffer.obj == nullptr ? nullptr : &buffer, PyBuffer_Release);
    std::uint32_t reach = 0;
    if (buffer.obj != nullptr && buffer.len < static_cast<Py_ssize_t>(sizeof(reach)))
      throw Refused{"reach_info has " + std::to_string(buffer.len) + " bytes; it must have 4"};
    std::int32_t code = smem_shm_topology_can_reach(handle_, rank.Get("remote_rank"), &reach);
    if (code != SMEM_OK) return code;
    if (buffer.obj != nullptr) std::memcpy(buffer.buf, &reach, sizeof(reach));
    if (list) {
      nb::object bits = nb::int_(reach);
      bool empty = PyList_GET_SIZE(reach_info.ptr()) == 0;
      int failed = empty ? PyList_Append(reach_info.ptr(), bits.ptr())
                         : PyList_SetItem(reach_info.ptr(), 0, bits.release().ptr());
      if (failed != 0) throw nb::python_error();
    }
    return code;
  });
}

std::uint32_t ShareMemory::ReachableOps(Int<std::uint32_t> rank) {
  return OrRaise([&] {
    std::uint32_t reach = 0;
    if (smem_shm_topology_can_reach(handle_, rank.Get("remote_rank"), &reach) != SMEM_OK)
      RaiseLastError();
    return reach;
  });
}

std::int32_t ShareMemory::Put(Int<std::uint32_t> rank, Int<std::uint64_t> offset, nb::handle data,
                              nb::handle size, Flag blocking) {
  return Code([&] {
    std::uint32_t to = rank.Get("rank");
    std::uint64_t at = offset.Get("offset");
    Address source(data, "data", Access::kRead);
    std::uint64_t size_bytes = SizeOf(source, "data", size);
    const void* bytes = reinterpret_cast<const void*>(source.value());
    std::uint32_t flags = blocking.value ? 0 : SMEM_SHM_NONBLOCKING;
    if (!blocking.value && source.owns()) in_flight_.push_back(std::move(source));
    return InLibrary(GilFor(size_bytes),
                     [&] { return smem_shm_put(handle_, to, at, bytes, size_bytes, flags); });
  });
}

std::int32_t ShareMemory::PutSignal(Int<std::uint32_t> rank, Int<std::uint64_t> offset,
                                    nb::handle data, Int<std::uint64_t> signal_offset, Word value,
                                    Member<smem_shm_signal_op> op, nb::handle size) {
  return Code([&] {
    std::uint32_t to = rank.Get("rank");
    std::uint64_t at = offset.Get("offset");
    std::uint64_t signal_at = signal_offset.Get("signal_offset");
    std::uint64_t word = value.Get("value");
    smem_shm_signal_op operation = op.Get("op");
    Address source(data, "data", Access::kRead);
    std::uint64_t size_bytes = SizeOf(source, "data", size);
    return InLibrary(GilFor(size_bytes), [&] {
      return smem_shm_put_signal(handle_, to, at, reinterpret_cast<const void*>(source.value()),
                                 size_bytes, signal_at, word, operation);
    });
  });
}

nb::bytes ShareMemory::Get(Int<std::uint32_t> rank, Int<std::uint64_t> offset,
                           Int<std::uint64_t> size) {
  return OrRaise([&]() -> nb::bytes {
    std::uint32_t from = rank.Get("rank");
    std::uint64_t at = offset.Get("offset");
    std::uint64_t size_bytes = size.Get("size");
    if (size_bytes > symmetric_size_)
      throw Refused{"size is " + std::to_string(size_bytes) + "; each rank has " +
                    std::to_string(symmetric_size_) + " bytes"};
    nb::object bytes =
        nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size_bytes)));
    if (!bytes.is_valid()) throw nb::python_error();
    char* to = PyBytes_AS_STRING(bytes.ptr());
    std::int32_t code = InLibrary(
        GilFor(size_bytes), [&] { return smem_shm_get(handle_, from, at, to, size_bytes, 0); });
    if (code != SMEM_OK) RaiseLastError();
    return nb::borrow<nb::bytes>(bytes);
  });
}

std::int32_t ShareMemory::GetInto(Int<std::uint32_t> rank, Int<std::uint64_t> offset,
                                  nb::handle out, nb::handle size, Flag blocking) {
  return Code([&] {
    std::uint32_t from = rank.Get("rank");
    std::uint64_t at = offset.Get("offset");
    Address destination(out, "out", Access::kWrite);
    std::uint64_t size_bytes = SizeOf(destination, "out", size);
    void* bytes = reinterpret_cast<void*>(destination.value());
    std::uint32_t flags = blocking.value ? 0 : SMEM_SHM_NONBLOCKING;
    if (!blocking.value && destination.owns()) in_flight_.push_back(std::move(destination));
    return InLibrary(GilFor(size_bytes),
                     [&] { return smem_shm_get(handle_, from, at, bytes, size_bytes, flags); });
  });
}

std::int32_t ShareMemory::Quiet() {
  std::vector<Address> waited_for = std::exchange(in_flight_, {});
  std::int32_t code = SMEM_ERROR;
  {
    Call call(Gil::kRelease);
    code = smem_shm_quiet(handle_);
  }
  bool in_flight = PyErr_Occurred() != nullptr || code == SMEM_TIMEOUT;
  if (in_flight) std::move(waited_for.begin(), waited_for.end(), std::back_inserter(in_flight_));
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
  return code;
}

std::int32_t ShareMemory::WaitUntil(Int<std::uint64_t> offset, Member<smem_shm_cmp> cmp, Word value,
                                    nb::handle writer) {
  return Code([&] {
    std::uint64_t rank = SMEM_SHM_ANY_RANK;
    bool fits = true;
    if (!writer.is_none() && !ReadInt(writer, 0, UINT32_MAX - 1, &rank, &fits))
      throw nb::type_error("writer: expected a rank or None");
    if (!fits) RefuseNumber(writer, "writer", "0", std::to_string(rank_size_ - 1));
    std::uint64_t at = offset.Get("offset");
    smem_shm_cmp comparison = cmp.Get("cmp");
    std::uint64_t word = value.Get("value");
    return InLibrary(Gil::kRelease, [&] {
      return smem_shm_wait_until(handle_, at, comparison, word, static_cast<std::uint32_t>(rank));
    });
  });
}

std::unique_ptr<Memory> ShareMemory::OpenView(Int<std::uint32_t> rank) {
  void* mapping = nullptr;
  void* address = nullptr;
  std::uint64_t size_bytes = 0;
  if (smem_shm_view_open(handle_, rank.Get("rank"), &mapping, &address, &size_bytes) != SMEM_OK)
    RaiseLastError();
  return std::make_unique<Memory>(address, size_bytes, mapping, smem_shm_view_close);
}

nb::object ShareMemory::View(Int<std::uint32_t> rank) {
  return OrRaise([&] { return ViewOf(OpenView(rank)); });
}

nb::ndarray<nb::array_api> ShareMemory::Tensor(Int<std::uint32_t> rank, nb::handle shape, Str dtype,
                                               Int<std::uint64_t> offset) {
  return OrRaise([&]() -> nb::ndarray<nb::array_api> {
    const Kind* kind = nullptr;
    for (const Kind& known : kKinds)
      if (dtype.text == known.name) kind = &known;
    if (kind == nullptr)
      throw Refused{"dtype '" + std::string(dtype) +
                    "' is none of uint8 to int64, float16, bfloat16, float32, float64"};
    std::uint64_t at = offset.Get("offset");
    std::uint64_t item_bytes = kind->type.bits / 8;
    if (at >= symmetric_size_ || at % item_bytes != 0)
      throw Refused{"offset is " + std::to_string(at) + "; it must be a multiple of " +
                    std::to_string(item_bytes) + " below " + std::to_string(symmetric_size_)};
    std::uint64_t room = (symmetric_size_ - at) / item_bytes;
    std::vector<std::size_t> sides;
    if (shape.is_none()) {
      sides.push_back(room);
    } else {
      nb::object items = nb::steal(PyLong_Check(shape.ptr()) ? PyTuple_Pack(1, shape.ptr())
                                                             : PySequence_Tuple(shape.ptr()));
      if (!items.is_valid()) throw nb::python_error();
      std::uint64_t count = 1;
      for (nb::handle item : items) {
        std::uint64_t side = 0;
        bool fits = false;
        if (!ReadInt(item, 0, UINT64_MAX, &side, &fits))
          throw nb::type_error("shape: expected ints");
        if (!fits || __builtin_mul_overflow(count, side, &count)) count = UINT64_MAX;
        sides.push_back(side);
      }
      if (count > room)
        throw Refused{"shape has more elements than the " + std::to_string(room) +
                      " that fit from offset"};
    }
    auto memory = OpenView(rank);
    char* begin = static_cast<char*>(memory->address()) + at;
    return nb::ndarray<nb::array_api>(begin, sides.size(), sides.data(),
                                      HolderOf(std::move(memory)), nullptr, kind->type);
  });
}

nb::list ShareMemory::LiveRanks() {
  std::vector<std::uint32_t> ranks(rank_size_);
  std::uint32_t count = rank_size_;
  if (smem_shm_get_live_ranks(handle_, ranks.data(), &count) != SMEM_OK) RaiseLastError();
  nb::list list;
  for (std::uint32_t i = 0; i < count; ++i) list.append(ranks[i]);
  return list;
}

}  // namespace memfabric::python
