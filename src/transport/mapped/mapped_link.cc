#include "transport/mapped/mapped_link.h"

#include <limits>

#include "memory/kernels.h"

namespace memfabric::transport {

MappedLink::MappedLink(Rank rank, std::uint64_t epoch, std::shared_ptr<Window> window,
                       const std::array<std::byte*, kZones>& slots, const ZoneBytes& allocated_bytes)
    : rank_(rank), epoch_(epoch), window_(std::move(window)), slots_(slots) {
  Grow(allocated_bytes);
}

Capabilities MappedLink::capabilities() const {
  return {.load_store = true, .max_pieces = std::numeric_limits<std::size_t>::max()};
}

ZoneBytes MappedLink::allocated_bytes() const {
  ZoneBytes bytes;
  for (std::size_t zone = 0; zone < kZones; ++zone) bytes[zone] = allocated_bytes_[zone].load(std::memory_order_acquire);
  return bytes;
}

Status MappedLink::Check(Zone zone, std::span<const Piece> pieces) const {
  if (down_.load(std::memory_order_acquire)) return DownStatus();
  std::uint64_t bytes = allocated_bytes_[Index(zone)].load(std::memory_order_acquire);
  for (const Piece& piece : pieces) {
    if (piece.size_bytes <= bytes && piece.remote_offset <= bytes - piece.size_bytes) continue;
    return InvalidArgument("{} bytes at offset {} leave the {} bytes that rank {} has allocated in its {} zone",
                           piece.size_bytes, piece.remote_offset, bytes, rank_, ZoneName(zone));
  }
  return Ok();
}

Status MappedLink::Put(Zone zone, std::span<const Piece> pieces) {
  RETURN_IF_ERROR(Check(zone, pieces));
  std::byte* slot = slots_[Index(zone)];
  for (const Piece& piece : pieces) CopyBytes(slot + piece.remote_offset, piece.local, piece.size_bytes);
  return Ok();
}

Status MappedLink::Get(Zone zone, std::span<const Piece> pieces) {
  RETURN_IF_ERROR(Check(zone, pieces));
  const std::byte* slot = slots_[Index(zone)];
  for (const Piece& piece : pieces) CopyBytes(piece.local, slot + piece.remote_offset, piece.size_bytes);
  return Ok();
}

Status MappedLink::Flush(Deadline) { return down_.load(std::memory_order_acquire) ? DownStatus() : Ok(); }

void MappedLink::Grow(const ZoneBytes& allocated_bytes) {
  for (std::size_t zone = 0; zone < kZones; ++zone) {
    allocated_bytes_[zone].store(allocated_bytes[zone], std::memory_order_release);
  }
}

void MappedLink::MarkDown(const Status& why) {
  std::lock_guard lock(mutex_);
  if (down_.load(std::memory_order_relaxed)) return;
  why_ = why.ok() ? Disconnected("rank {} has left", rank_) : why;
  down_.store(true, std::memory_order_release);
}

Status MappedLink::DownStatus() const {
  std::lock_guard lock(mutex_);
  return why_;
}

}  // namespace memfabric::transport
