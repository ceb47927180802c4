#include "copy/relay.h"

#include <span>
#include <utility>

#include "copy/link_mover.h"

namespace memfabric::copy {

Status Relay::Move(const Spot& source, const Spot& destination, std::size_t size_bytes) {
  if (size_bytes > half_bytes_) {
    RETURN_IF_ERROR(Finish());
    half_bytes_ = size_bytes <= kPieceBytes / 16 ? kPieceBytes / 16 : kPieceBytes;
    buffer_ = std::make_unique_for_overwrite<std::byte[]>(2 * half_bytes_);
  }
  std::byte* half = buffer_.get() + half_ * half_bytes_;
  half_ ^= 1;
  transport::Piece got{half, source.slot_offset, size_bytes};
  Status started = source.link->zones()->Get(source.zone, std::span(&got, 1));
  Status ended = Wait(*source.link, size_bytes);
  RETURN_IF_ERROR(std::move(started));
  RETURN_IF_ERROR(std::move(ended));
  RETURN_IF_ERROR(Finish());
  putting_ = destination.link;
  putting_bytes_ = size_bytes;
  transport::Piece put{half, destination.slot_offset, size_bytes};
  return destination.link->zones()->Put(destination.zone, std::span(&put, 1));
}

Status Relay::Finish() {
  if (putting_ == nullptr) return Ok();
  return Wait(*std::exchange(putting_, nullptr), putting_bytes_);
}

Status Relay::Wait(transport::Link& link, std::size_t size_bytes) {
  Status status =
      FlushLink(link, flush_timeout_, {.bytes = size_bytes, .operations = 1}, counters_);
  if (!status.ok()) unreturned_ = true;
  return status;
}

std::unique_ptr<std::byte[]> Relay::TakeUnreturned() {
  return unreturned_ ? std::move(buffer_) : nullptr;
}

}  // namespace memfabric::copy
