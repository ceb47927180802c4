// Calls on an object that stands; assembly.cc has how it comes and goes.

#include "shm/object.h"

#include <memfabric/smem_shm_device.h>

#include <algorithm>
#include <cstring>

#include "base/wait.h"
#include "group/doorbell.h"
#include "memory/kernels.h"
#include "runtime/while_open.h"
#include "shm/values.h"

namespace memfabric::shm {
namespace {

using std::chrono::steady_clock;
using transport::AtomicRequest;
using transport::Piece;

constexpr std::uint64_t kMaxPieceBytes = 256_MiB;  // of a link's request

bool Holds(Comparison comparison, std::uint64_t cell, std::uint64_t value) {
  switch (comparison) {
    case Comparison::kEqual: return cell == value;
    case Comparison::kNotEqual: return cell != value;
    case Comparison::kGreater: return cell > value;
    case Comparison::kLessOrEqual: return cell <= value;
    case Comparison::kLess: return cell < value;
    case Comparison::kGreaterOrEqual: return cell >= value;
  }
  return false;
}

}  // namespace

template <typename Call>
auto Object::Cancellable(Call&& call) -> decltype(call()) {
  return WhileOpen(closing_, call, [&] {
    return NotFound("object {} was destroyed while the call ran", options_.id);
  });
}

Deadline Object::OperationDeadline() const {
  return std::min(CoarseDeadline(init_.config.operation_timeout), CallDeadline());
}

Bound Object::OperationBound() const {
  return Bound::WithoutProgress(init_.config.operation_timeout);
}

Status Object::SetContext(std::span<const std::byte> context) {
  if (context.empty() || context.size() > kMaxContextBytes)
    return InvalidArgument("the context has {} bytes; it must have from 1 to {}", context.size(),
                           kMaxContextBytes);
  std::lock_guard lock(context_mutex_);
  std::byte* info = window_->data() + layout_.SlotBegin(Zone::kHost, 0) - SMEM_SHM_INFO_BYTES;
  std::memcpy(info + SMEM_SHM_INFO_CONTEXT_OFFSET, context.data(), context.size());
  auto* size = reinterpret_cast<std::uint64_t*>(info + offsetof(smem_shm_info_t, context_size));
  std::atomic_ref<std::uint64_t>(*size).store(context.size(), std::memory_order_release);
  return Ok();
}

Status Object::Barrier() {
  return Cancellable([&] { return world_->Barrier(OperationDeadline()); });
}

Status Object::AllGather(std::span<const std::byte> block, std::span<std::byte> gathered) {
  return Cancellable([&] { return world_->AllGather(block, gathered, OperationDeadline()); });
}

Status Object::SubgroupBarrier(const std::string& key, std::uint32_t size, Rank rank) {
  RETURN_IF_ERROR(CheckKey(key));
  return Cancellable([&]() -> Status {
    Deadline deadline = OperationDeadline();
    ASSIGN_OR_RETURN(auto* subgroup, subgroups_->Find(key, size, rank, deadline));
    return subgroup->Barrier(deadline);
  });
}

Status Object::SubgroupAllGather(const std::string& key, std::uint32_t size, Rank rank,
                                 std::span<const std::byte> block, std::span<std::byte> gathered) {
  RETURN_IF_ERROR(CheckKey(key));
  return Cancellable([&]() -> Status {
    Deadline deadline = OperationDeadline();
    ASSIGN_OR_RETURN(auto* subgroup, subgroups_->Find(key, size, rank, deadline));
    return subgroup->AllGather(block, gathered, deadline);
  });
}

Status Object::CheckRank(Rank rank) const {
  if (rank < options_.rank_size) return Ok();
  return InvalidArgument("rank is {}; object {} has ranks 0 to {}", rank, options_.id,
                         options_.rank_size - 1);
}

Result<std::uint32_t> Object::ReachableOps(Rank rank) const {
  RETURN_IF_ERROR(CheckRank(rank));
  if (rank == options_.rank) return DataOp::kLoadStore | DataOp::kCopyEngine;
  auto link = peers_->LinkOf(rank);
  if (link == nullptr) return 0;
  std::uint32_t ops = DataOp::kCopyEngine;
  if (link->load_store()) ops |= DataOp::kLoadStore;
  return ops;
}

Result<std::string> Object::Path(Rank rank) const {
  RETURN_IF_ERROR(CheckRank(rank));
  if (rank == options_.rank) return std::string(transport::kPlainPath);
  auto link = peers_->LinkOf(rank);
  if (link == nullptr) return Disconnected("{}", peers_->WhyGone(rank).message());
  return std::string(link->path());
}

Result<std::uint32_t> Object::AllocateValue(std::uint32_t limit) {
  return Cancellable([&] { return shm::AllocateValue(*peers_, limit, OperationDeadline()); });
}

Status Object::ReleaseValue(std::uint32_t value) {
  return Cancellable([&] { return shm::ReleaseValue(*peers_, value, OperationDeadline()); });
}

Status Object::GlobalExit(int status) {
  return Cancellable([&] { return exits_->Tell(options_.rank, status, OperationDeadline()); });
}

Status Object::CheckRange(Rank rank, std::uint64_t slot_offset, const void* local,
                          std::uint64_t size_bytes) const {
  RETURN_IF_ERROR(CheckRank(rank));
  if (local == nullptr) return InvalidArgument("the local address is null");
  if (size_bytes == 0) return InvalidArgument("size is 0; it must be 1 or more");
  if (size_bytes <= options_.bytes && slot_offset <= options_.bytes - size_bytes) return Ok();
  return InvalidArgument(
      "{} bytes at offset {} leave the {} ({} bytes) that each rank of object {} has", size_bytes,
      slot_offset, SizeText(options_.bytes), options_.bytes, options_.id);
}

std::uint64_t* Object::MappedCell(Rank rank, std::uint64_t slot_offset) const {
  return reinterpret_cast<std::uint64_t*>(window_->data() + layout_.SlotBegin(Zone::kHost, rank) +
                                          slot_offset);
}

inline std::byte* Object::Plain(Rank rank, std::uint64_t slot_offset, const std::byte* local,
                                std::uint64_t size_bytes) const {
  if (rank >= options_.rank_size || local == nullptr || size_bytes - 1 >= copy::kParallelBytes - 1)
    return nullptr;
  std::uint64_t bytes = reach_->MappedBytes(Zone::kHost, rank);
  if (size_bytes > bytes || slot_offset > bytes - size_bytes) return nullptr;
  if (!reach_->Backed(Zone::kHost, rank, slot_offset, size_bytes)) return nullptr;
  auto begin = reinterpret_cast<std::uintptr_t>(local);
  if (begin >= layout_.base ? begin - layout_.base < layout_.WindowBytes()
                            : layout_.base - begin < size_bytes)
    return nullptr;
  return window_->data() + layout_.SlotBegin(Zone::kHost, rank) + slot_offset;
}

void Object::RingAt(Rank rank) const {
  if (group::Control* control = peers_->Mapped(rank)) group::Ring(control->cell_doorbell);
}

Status Object::Put(Rank rank, std::uint64_t slot_offset, const std::byte* source,
                   std::uint64_t size_bytes, bool blocking) {
  if (std::byte* destination = Plain(rank, slot_offset, source, size_bytes)) [[likely]] {
    CopyBytes(destination, source, size_bytes);
    reach_->counters().AddMapped(rank, size_bytes, 1);
    return Ok();
  }
  RETURN_IF_ERROR(CheckRange(rank, slot_offset, source, size_bytes));
  if (!blocking && peers_->Mapped(rank) == nullptr) {
    auto link = peers_->LinkOf(rank);
    if (link == nullptr) return Disconnected("{}", peers_->WhyGone(rank).message());
    for (std::uint64_t done = 0; done < size_bytes; done += kMaxPieceBytes) {
      Piece piece{const_cast<std::byte*>(source) + done, slot_offset + done,
                  std::min(kMaxPieceBytes, size_bytes - done)};
      RETURN_IF_ERROR(link->zones()->Put(Zone::kHost, {&piece, 1}));
    }
    return Ok();
  }
  std::uint64_t to = layout_.SlotAddress(Zone::kHost, rank).value + slot_offset;
  return engine_->Copy({reinterpret_cast<std::uintptr_t>(source), to, size_bytes},
                       copy::Direction::kH2GH);
}

Status Object::Get(Rank rank, std::uint64_t slot_offset, std::byte* destination,
                   std::uint64_t size_bytes, bool blocking) {
  if (const std::byte* source = Plain(rank, slot_offset, destination, size_bytes)) [[likely]] {
    CopyBytes(destination, source, size_bytes);
    reach_->counters().AddMapped(rank, size_bytes, 1);
    return Ok();
  }
  RETURN_IF_ERROR(CheckRange(rank, slot_offset, destination, size_bytes));
  if (!blocking && peers_->Mapped(rank) == nullptr) {
    auto link = peers_->LinkOf(rank);
    if (link == nullptr) return Disconnected("{}", peers_->WhyGone(rank).message());
    for (std::uint64_t done = 0; done < size_bytes; done += kMaxPieceBytes) {
      Piece piece{destination + done, slot_offset + done,
                  std::min(kMaxPieceBytes, size_bytes - done)};
      RETURN_IF_ERROR(link->zones()->Get(Zone::kHost, {&piece, 1}));
    }
    return Ok();
  }
  std::uint64_t from = layout_.SlotAddress(Zone::kHost, rank).value + slot_offset;
  return engine_->Copy({from, reinterpret_cast<std::uintptr_t>(destination), size_bytes},
                       copy::Direction::kGH2H);
}

Status Object::PutSignal(Rank rank, std::uint64_t slot_offset, const std::byte* source,
                         std::uint64_t size_bytes, const AtomicRequest& signal) {
  if (std::byte* destination = Plain(rank, slot_offset, source, size_bytes);
      destination != nullptr && signal.slot_offset % sizeof(std::uint64_t) == 0 &&
      signal.slot_offset < options_.bytes &&
      reach_->Backed(Zone::kHost, rank, signal.slot_offset, sizeof(std::uint64_t))) [[likely]] {
    CopyBytes(destination, source, size_bytes);
    transport::PerformAtomic(MappedCell(rank, signal.slot_offset), signal);
    RingAt(rank);
    reach_->counters().AddMapped(rank, size_bytes, 1);  // last: the peer is on its way
    return Ok();
  }
  RETURN_IF_ERROR(CheckRank(rank));
  RETURN_IF_ERROR(transport::CheckAtomic(rank, Zone::kHost, signal, options_.bytes));
  // The signal goes after this thread's puts on the link, so the bytes need no wait of their own;
  // it is waited for.
  RETURN_IF_ERROR(Put(rank, slot_offset, source, size_bytes, /*blocking=*/false));
  if (peers_->Mapped(rank) != nullptr) {
    RETURN_IF_ERROR(reach_->Obtain(Zone::kHost, rank, signal.slot_offset, sizeof(std::uint64_t)));
    transport::PerformAtomic(MappedCell(rank, signal.slot_offset), signal);
    RingAt(rank);
    return Ok();
  }
  Status signalled = Atomic(rank, signal).status();
  // `source` is the caller's again when the put is done, whatever became of the signal.
  auto link = peers_->LinkOf(rank);
  Status flushed = link == nullptr ? Ok() : link->Flush(OperationBound());
  return signalled.ok() ? flushed : signalled;
}

Result<std::uint64_t> Object::Atomic(Rank rank, const AtomicRequest& request) {
  RETURN_IF_ERROR(CheckRank(rank));
  RETURN_IF_ERROR(transport::CheckAtomic(rank, Zone::kHost, request, options_.bytes));
  if (peers_->Mapped(rank) != nullptr) {
    if (reach_->MappedBytes(Zone::kHost, rank) == 0)
      return Disconnected("{}", peers_->WhyGone(rank).message());
    RETURN_IF_ERROR(reach_->Obtain(Zone::kHost, rank, request.slot_offset, sizeof(std::uint64_t)));
    std::uint64_t former = transport::PerformAtomic(MappedCell(rank, request.slot_offset), request);
    RingAt(rank);
    return former;
  }
  auto link = peers_->LinkOf(rank);
  if (link == nullptr) return Disconnected("{}", peers_->WhyGone(rank).message());
  return Cancellable(
      [&] { return link->signals()->Atomic(Zone::kHost, request, OperationDeadline()); });
}

Status Object::WaitUntil(std::uint64_t slot_offset, Comparison comparison, std::uint64_t value,
                         Rank writer) {
  RETURN_IF_ERROR(transport::CheckAtomic(
      options_.rank, Zone::kHost, {.operation = {}, .slot_offset = slot_offset}, options_.bytes));
  if (static_cast<std::uint32_t>(comparison) >= kComparisons)
    return InvalidArgument("comparison {} is none of 0 to {}",
                           static_cast<std::uint32_t>(comparison), kComparisons - 1);
  if (writer != kNoRank) RETURN_IF_ERROR(CheckRank(writer));
  std::byte* place = window_->data() + layout_.SlotBegin(Zone::kHost, options_.rank) + slot_offset;
  std::atomic_ref<std::uint64_t> cell(*reinterpret_cast<std::uint64_t*>(place));
  auto done = [&] { return Holds(comparison, cell.load(std::memory_order_seq_cst), value); };
  if (group::AwaitEagerly(crowded_, done)) return Ok();
  auto gone = [&]() -> Status {
    if (peers_->losses() == 0) return Ok();
    bool anybody = false;
    for (Rank rank = 0; rank < options_.rank_size; ++rank) {
      if (rank == options_.rank || (writer != kNoRank && rank != writer)) continue;
      Status why = peers_->WhyGone(rank);
      anybody |= why.ok();
      if (!why.ok() && (writer == rank || !IsNotFound(why)))
        return Disconnected("{}", why.message());
    }
    bool writers_left = anybody || writer == options_.rank || options_.rank_size == 1;
    return writers_left ? Ok() : Disconnected("all other ranks have left object {}", options_.id);
  };
  return Cancellable([&]() -> Status {
    group::Patience patience{
        .crowded = crowded_, .nap = group::kShortNap, .deadline = OperationDeadline()};
    Status status =
        group::Await(peers_->Mapped(options_.rank)->cell_doorbell, patience, done, gone);
    if (status.ok()) return status;
    return Status(status.kind(), fmt::format("wait_until on offset {}, which holds {}: {}",
                                             slot_offset, cell.load(), status.message()));
  });
}

void Object::Fence() { CopyFence(); }

Status Object::Quiet() {
  CopyFence();
  Status first;
  for (Rank rank = 0; rank < options_.rank_size; ++rank) {
    if (rank == options_.rank || peers_->Mapped(rank) != nullptr) continue;
    auto link = peers_->LinkOf(rank);
    Status status = link == nullptr ? Disconnected("{}", peers_->WhyGone(rank).message())
                                    : link->Flush(OperationBound());
    if (first.ok()) first = std::move(status);
  }
  return first;
}

Result<View> Object::OpenView(Rank rank) const {
  RETURN_IF_ERROR(CheckRank(rank));
  if (peers_->Mapped(rank) == nullptr) {
    ASSIGN_OR_RETURN(auto path, Path(rank));
    return Unsupported("rank {} is reached by {}: only memory of this host can be viewed", rank,
                       path);
  }
  return View{window_, window_->data() + layout_.SlotBegin(Zone::kHost, rank), options_.bytes};
}

}  // namespace memfabric::shm
