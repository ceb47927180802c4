// binding/big_memory.h: the BigMemory object, a pool's handle and what Python needs beside it.
//
// Threads: any Python thread; its own fields are guarded by the GIL.

#pragma once

#include <memfabric/smem_bm.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <vector>

#include "arguments.h"
#include "callbacks.h"

namespace memfabric::python {

class BigMemory {
 public:
  explicit BigMemory(std::uint32_t id) : id_(id) {}
  ~BigMemory();
  BigMemory(const BigMemory&) = delete;
  BigMemory& operator=(const BigMemory&) = delete;

  void Adopt(smem_bm_t handle) { handle_ = handle; }  // once; null: there is no pool
  smem_bm_t handle() const { return handle_; }
  std::string Repr() const;

  std::int32_t Copy(nb::handle source, nb::handle destination, Int<std::uint64_t> size,
                    Member<smem_bm_copy_type> type, Int<std::uint32_t> flags,
                    Int<std::uint64_t> stream, nb::handle timeout);
  std::int32_t CopyBatch(nb::handle sources, nb::handle destinations, nb::handle sizes,
                         Int<std::uint64_t> count, Member<smem_bm_copy_type> type,
                         Int<std::uint32_t> flags, Int<std::uint64_t> stream, nb::handle timeout);
  std::int32_t Wait();
  std::int32_t SetGroupEventHandler(nb::handle function);
  nb::object View(Int<std::uint32_t> rank, Member<smem_bm_mem_type> mem_type);
  nb::list Members();
  nb::dict Stats();
  void Destroy();

  // For the garbage collector: a handler may refer to its pool.
  nb::object& group_event_function() { return group_event_.function; }

 private:
  smem_bm_t handle_ = nullptr;  // stays after Destroy: the library then refuses it
  std::uint32_t id_;
  bool destroyed_ = false;
  CallbackFunction group_event_;
  std::vector<Address> in_flight_;  // objects that asynchronous copies read or write, until Wait
};

// "1.5 GiB", "0 B"
std::string SizeText(std::uint64_t size_bytes);

}  // namespace memfabric::python
