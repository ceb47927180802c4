// binding/share_memory.h: the ShareMemory object, a Shared Memory object's handle.
//
// Threads: any Python thread; its own fields are guarded by the GIL.

#pragma once

#include <memfabric/smem_shm.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arguments.h"
#include "memory.h"

namespace memfabric::python {

// A 64-bit word of a cell: an int from -2^63 to 2^64 - 1; negative ones are their two's complement.
struct Word {
  std::uint64_t value = 0;
  bool fits = true;
  nb::handle source;

  std::uint64_t Get(const char* name) const;
};

class ShareMemory {
 public:
  ShareMemory(smem_shm_t handle, std::uint32_t id, void* gva);
  ~ShareMemory();
  ShareMemory(const ShareMemory&) = delete;
  ShareMemory& operator=(const ShareMemory&) = delete;

  smem_shm_t handle() const { return handle_; }
  std::string Repr() const;
  std::uint32_t local_rank() const { return rank_; }
  std::uint32_t rank_size() const { return rank_size_; }
  std::uint64_t gva() const { return gva_; }
  std::uint64_t symmetric_size() const { return symmetric_size_; }

  std::int32_t SetContext(nb::handle context);
  std::int32_t Destroy(Int<std::uint32_t> flags);
  nb::bytes AllGather(nb::handle local_data, nb::handle group);
  std::int32_t Barrier(nb::handle group);
  std::int32_t TopologyCanReach(Int<std::uint32_t> rank, nb::handle reach_info);
  std::uint32_t ReachableOps(Int<std::uint32_t> rank);

  std::int32_t Put(Int<std::uint32_t> rank, Int<std::uint64_t> offset, nb::handle data,
                   nb::handle size, Flag blocking);
  std::int32_t PutSignal(Int<std::uint32_t> rank, Int<std::uint64_t> offset, nb::handle data,
                         Int<std::uint64_t> signal_offset, Word value,
                         Member<smem_shm_signal_op> op, nb::handle size);
  nb::bytes Get(Int<std::uint32_t> rank, Int<std::uint64_t> offset, Int<std::uint64_t> size);
  std::int32_t GetInto(Int<std::uint32_t> rank, Int<std::uint64_t> offset, nb::handle out,
                       nb::handle size, Flag blocking);
  std::int32_t Quiet();
  std::int32_t WaitUntil(Int<std::uint64_t> offset, Member<smem_shm_cmp> cmp, Word value,
                         nb::handle writer);

  nb::object View(Int<std::uint32_t> rank);
  nb::ndarray<nb::array_api> Tensor(Int<std::uint32_t> rank, nb::handle shape, Str dtype,
                                    Int<std::uint64_t> offset);
  nb::list LiveRanks();

 private:
  std::unique_ptr<Memory> OpenView(Int<std::uint32_t> rank);

  smem_shm_t handle_;  // stays after Destroy: the library then refuses it
  std::uint32_t id_;
  std::uint32_t rank_ = 0;
  std::uint32_t rank_size_ = 0;
  std::uint64_t gva_;
  std::uint64_t symmetric_size_ = 0;
  bool destroyed_ = false;
  std::vector<Address> in_flight_;  // objects that non-blocking calls read or write, until Quiet
};

}  // namespace memfabric::python

namespace nanobind::detail {

template <>
struct type_caster<memfabric::python::Word> {
  NB_TYPE_CASTER(memfabric::python::Word, const_name("int"))

  bool from_python(handle source, std::uint32_t, cleanup_list*) noexcept {
    value.source = source;
    return memfabric::python::ReadInt(source, INT64_MIN, UINT64_MAX, &value.value, &value.fits);
  }
};

}  // namespace nanobind::detail
