#include "big_memory.h"

#include <cstdio>
#include <iterator>
#include <memory>
#include <utility>

#include "calls.h"
#include "memory.h"
#include "number_list.h"

namespace memfabric::python {
namespace {

constexpr std::uint64_t kLongCopyBytes = 64 << 10;  // above it the GIL is released

// All that a C function lists of a pool.
template <typename Item>
std::vector<Item> Listed(smem_bm_t pool, std::int32_t (*list)(smem_bm_t, Item*, std::uint32_t*)) {
  std::vector<Item> items(16);
  while (true) {
    auto room = static_cast<std::uint32_t>(items.size());
    std::uint32_t count = room;
    std::int32_t code = InLibrary(Gil::kRelease, [&] { return list(pool, items.data(), &count); });
    if (code != SMEM_OK) RaiseLastError();
    items.resize(count);
    if (count <= room) return items;
  }
}

}  // namespace

BigMemory::~BigMemory() {
  if (handle_ == nullptr || destroyed_) return;
  Call call(Gil::kRelease, /*interruptible=*/false);
  smem_bm_destroy(handle_);
}

std::string BigMemory::Repr() const {
  std::string text = "<BigMemory id=" + std::to_string(id_);
  if (destroyed_) return text + " destroyed>";
  text += " rank=" + std::to_string(smem_bm_get_rank_id());
  text += " host=" + SizeText(smem_bm_get_local_mem_size_by_mem_type(handle_, SMEM_MEM_TYPE_HOST));
  text +=
      " device=" + SizeText(smem_bm_get_local_mem_size_by_mem_type(handle_, SMEM_MEM_TYPE_DEVICE));
  return text + ">";
}

std::int32_t BigMemory::Copy(nb::handle source, nb::handle destination, Int<std::uint64_t> size,
                             Member<smem_bm_copy_type> type, Int<std::uint32_t> flags,
                             Int<std::uint64_t> stream, nb::handle timeout) {
  return Code([&] {
    CallTimeout bounded(timeout);
    std::uint64_t size_bytes = size.Get("size");
    Address from(source, "src_ptr", Access::kRead);
    Address to(destination, "dst_ptr", Access::kWrite);
    from.CheckHolds(size_bytes, "src_ptr");
    to.CheckHolds(size_bytes, "dst_ptr");
    smem_copy_params params{reinterpret_cast<const void*>(from.value()),
                            reinterpret_cast<void*>(to.value()), size_bytes,
                            reinterpret_cast<void*>(stream.Get("stream"))};
    smem_bm_copy_type copy_type = type.Get("type");
    std::uint32_t copy_flags = flags.Get("flags");
    if ((copy_flags & SMEM_BM_COPY_ASYNC) != 0) {
      if (from.owns()) in_flight_.push_back(std::move(from));
      if (to.owns()) in_flight_.push_back(std::move(to));
    }
    return InLibrary(size_bytes > kLongCopyBytes ? Gil::kRelease : Gil::kKeepWhileShort,
                     [&] { return smem_bm_copy(handle_, &params, copy_type, copy_flags); });
  });
}

std::int32_t BigMemory::CopyBatch(nb::handle sources, nb::handle destinations, nb::handle sizes,
                                  Int<std::uint64_t> count, Member<smem_bm_copy_type> type,
                                  Int<std::uint32_t> flags, Int<std::uint64_t> stream,
                                  nb::handle timeout) {
  return Code([&] {
    CallTimeout bounded(timeout);
    AddressList from(sources, "src_addrs", Access::kRead);
    AddressList to(destinations, "dst_addrs", Access::kWrite);
    NumberList lengths(sizes, "sizes");
    std::uint64_t copies = count.Get("count");
    if (copies == 0) throw Refused{"count is 0; it must be 1 or more"};
    if (copies > UINT32_MAX)
      throw Refused{"count is " + std::to_string(copies) + ", the limit is " +
                    std::to_string(UINT32_MAX)};
    if (from.size() != copies || to.size() != copies || lengths.size() != copies) {
      throw Refused{"count is " + std::to_string(copies) + ", but src_addrs has " +
                    std::to_string(from.size()) + " elements, dst_addrs " +
                    std::to_string(to.size()) + " and sizes " + std::to_string(lengths.size())};
    }
    from.CheckHolds(lengths, "src_addrs");
    to.CheckHolds(lengths, "dst_addrs");
    // The C interface doesn't write to the lists, though it doesn't say so by const.
    smem_batch_copy_params params{reinterpret_cast<void**>(const_cast<std::uint64_t*>(from.data())),
                                  reinterpret_cast<void**>(const_cast<std::uint64_t*>(to.data())),
                                  lengths.data(), static_cast<std::uint32_t>(copies),
                                  reinterpret_cast<void*>(stream.Get("stream"))};
    smem_bm_copy_type copy_type = type.Get("type");
    std::uint32_t copy_flags = flags.Get("flags");
    std::uint64_t total = 0;
    for (std::uint64_t k = 0; k < copies && total <= kLongCopyBytes; ++k) {
      if (__builtin_add_overflow(total, lengths.data()[k], &total)) total = UINT64_MAX;
    }
    // An asynchronous copy outlives this call, but not the lists: the library copies them.
    std::vector<Address> owners;
    from.MoveOwners(owners);
    to.MoveOwners(owners);
    if ((copy_flags & SMEM_BM_COPY_ASYNC) != 0) {
      std::move(owners.begin(), owners.end(), std::back_inserter(in_flight_));
      owners.clear();
    }
    return InLibrary(total > kLongCopyBytes ? Gil::kRelease : Gil::kKeepWhileShort,
                     [&] { return smem_bm_copy_batch(handle_, &params, copy_type, copy_flags); });
  });
}

std::int32_t BigMemory::Wait() {
  std::vector<Address> waited_for = std::exchange(in_flight_, {});
  std::int32_t code = SMEM_ERROR;
  {
    Call call(Gil::kRelease);
    code = smem_bm_wait(handle_);
  }
  bool in_flight = PyErr_Occurred() != nullptr || code == SMEM_TIMEOUT;
  if (in_flight) std::move(waited_for.begin(), waited_for.end(), std::back_inserter(in_flight_));
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
  return code;
}

std::int32_t BigMemory::SetGroupEventHandler(nb::handle function) {
  bool none = function.is_none();
  if (!none && PyCallable_Check(function.ptr()) == 0)
    throw nb::type_error("fn: expected a callable or None");
  nb::object former =
      std::exchange(group_event_.function, none ? nb::object() : nb::borrow(function));
  return InLibrary(Gil::kRelease, [&] {
    return smem_bm_set_group_event_handler(handle_, none ? nullptr : &TellGroupEvent,
                                           none ? nullptr : group_event_.context());
  });
}

nb::object BigMemory::View(Int<std::uint32_t> rank, Member<smem_bm_mem_type> mem_type) {
  return OrRaise([&]() -> nb::object {
    std::uint32_t owner = rank.Get("rank");
    smem_bm_mem_type type = mem_type.Get("mem_type");
    auto memory = InLibrary(Gil::kRelease, [&]() -> std::unique_ptr<Memory> {
      void* mapping = nullptr;
      void* address = nullptr;
      std::uint64_t size_bytes = 0;
      if (smem_bm_view_open(handle_, owner, type, &mapping, &address, &size_bytes) != SMEM_OK)
        return nullptr;
      return std::make_unique<Memory>(address, size_bytes, mapping, smem_bm_view_close);
    });
    if (memory == nullptr) RaiseLastError();
    return ViewOf(std::move(memory));
  });
}

nb::list BigMemory::Members() {
  nb::list list;
  for (const smem_bm_member_t& member : Listed(handle_, &smem_bm_get_members)) list.append(member);
  return list;
}

nb::dict BigMemory::Stats() {
  nb::dict by_rank;
  for (const smem_bm_stats_t& stats : Listed(handle_, &smem_bm_get_stats)) {
    nb::int_ rank(stats.rank);
    if (!by_rank.contains(rank)) by_rank[rank] = nb::dict();
    nb::dict counts;
    counts["bytes"] = stats.bytes;
    counts["operations"] = stats.operations;
    counts["errors"] = stats.errors;
    counts["retries"] = stats.retries;
    by_rank[rank][stats.path] = counts;
  }
  return by_rank;
}

void BigMemory::Destroy() {
  if (std::exchange(destroyed_, true)) return;
  {
    Call call(Gil::kRelease);
    smem_bm_destroy(handle_);
  }
  in_flight_.clear();
  group_event_.function.reset();
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
}

std::string SizeText(std::uint64_t size_bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  auto size = static_cast<double>(size_bytes);
  for (; size >= 1024 && unit + 1 < std::size(kUnits); ++unit) size /= 1024;
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g %s", size, kUnits[unit]);
  return text;
}

}  // namespace memfabric::python
