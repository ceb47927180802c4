#include "transport/mapped/mapped_link.h"

#include <limits>

#include "memory/kernels.h"

namespace memfabric::transport {

MappedLink::MappedLink(Rank rank, std::uint64_t epoch, std::shared_ptr<Window> window,
                       const std::array<std::uint64_t, kZones>& slots)
    : rank_(rank), epoch_(epoch), window_(std::move(window)), slots_(slots) {}

Capabilities MappedLink::capabilities() const {
  return {.load_store = true, .atomics = true, .max_pieces = std::numeric_limits<std::size_t>::max()};
}

ZoneBytes MappedLink::allocated_bytes() const {
  ZoneBytes bytes;
  for (std::size_t zone = 0; zone < kZones; ++zone) bytes[zone] = allocated_bytes_[zone].load(std::memory_order_acquire);
  return bytes;
}

Status MappedLink::Check(Zone zone, std::span<const Piece> pieces) const {
  if (down_.load(std::memory_order_acquire)) return DownStatus();
  return CheckPieces(rank_, zone, pieces, allocated_bytes_[Index(zone)].load(std::memory_order_acquire));
}

Status MappedLink::Put(Zone zone, std::span<const Piece> pieces) {
  RETURN_IF_ERROR(Check(zone, pieces));
  std::byte* slot = window_->data() + slots_[Index(zone)];
  for (const Piece& piece : pieces) CopyBytes(slot + piece.remote_offset, piece.local, piece.size_bytes);
  return Ok();
}

Status MappedLink::Get(Zone zone, std::span<const Piece> pieces) {
  RETURN_IF_ERROR(Check(zone, pieces));
  const std::byte* slot = window_->data() + slots_[Index(zone)];
  for (const Piece& piece : pieces) CopyBytes(piece.local, slot + piece.remote_offset, piece.size_bytes);
  return Ok();
}

Status MappedLink::PutRegistered(std::span<const Piece>) {
  return Unsupported("rank {} is reached by mapping: only what it contributes can be", rank_);
}

Status MappedLink::GetRegistered(std::span<const Piece> pieces) { return PutRegistered(pieces); }

Result<std::uint64_t> MappedLink::Atomic(Zone zone, const AtomicRequest& request, Deadline) {
  if (down_.load(std::memory_order_acquire)) return DownStatus();
  RETURN_IF_ERROR(CheckAtomic(rank_, zone, request, allocated_bytes_[Index(zone)].load(std::memory_order_acquire)));
  return PerformAtomic(reinterpret_cast<std::uint64_t*>(window_->data() + slots_[Index(zone)] + request.offset), request);
}

Status MappedLink::Flush(Bound) { return down_.load(std::memory_order_acquire) ? DownStatus() : Ok(); }

Status MappedLink::Grow(const LocalContribution& contribution) {
  const ZoneBytes& bytes = contribution.bytes.allocated_bytes;
  const ZoneBytes former = allocated_bytes();
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone);
    if (bytes[i] == 0) continue;
    auto file = CheckSharedFile(contribution.files[i].get(), bytes[i], contribution.bytes.user_files[i]);
    if (!file.ok()) return file.status().WithContext(fmt::format("rank {}, {} memory", rank_, ZoneName(zone)));
    if (former[i] > 0 && *file != files_[i]) return InvalidArgument("rank {} grows by another file", rank_);
    files_[i] = *file;
  }
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone);
    if (bytes[i] == former[i]) continue;
    RETURN_IF_ERROR(window_->Map(slots_[i] + former[i], bytes[i] - former[i], contribution.files[i].get(), former[i])
                        .WithContext(fmt::format("rank {}, {} memory", rank_, ZoneName(zone))));
    allocated_bytes_[i].store(bytes[i], std::memory_order_release);
  }
  return Ok();
}

Status MappedLink::OnData(std::span<const std::byte>, std::span<UniqueFd>) {
  return InvalidArgument("DATA where memory is mapped");
}

void MappedLink::MarkDown(const Status& why) {
  std::lock_guard lock(mutex_);
  if (down_.load(std::memory_order_relaxed)) return;
  why_ = why;
  down_.store(true, std::memory_order_release);
}

Status MappedLink::DownStatus() const {
  std::lock_guard lock(mutex_);
  return why_;
}

}  // namespace memfabric::transport
