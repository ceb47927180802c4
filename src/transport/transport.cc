#include "transport/transport.h"

#include <atomic>

namespace memfabric::transport {

std::string MemberAddress::ToString() const {
  return fmt::format("rank {} (host {}, pid {})", rank, host, pid);
}

Status CheckPieces(Rank rank, Zone zone, std::span<const Piece> pieces,
                   std::uint64_t allocated_bytes) {
  for (const Piece& piece : pieces) {
    if (piece.size_bytes <= allocated_bytes && piece.target <= allocated_bytes - piece.size_bytes)
      continue;
    return InvalidArgument(
        "{} bytes at offset {} leave the {} bytes that rank {} has allocated in its {} zone",
        piece.size_bytes, piece.target, allocated_bytes, rank, ZoneName(zone));
  }
  return Ok();
}

std::uint64_t PerformAtomic(std::uint64_t* cell, const AtomicRequest& request) {
  std::atomic_ref<std::uint64_t> value(*cell);
  switch (request.operation) {
    case AtomicRequest::Operation::kFetchAdd: return value.fetch_add(request.operand);
    case AtomicRequest::Operation::kSwap: return value.exchange(request.operand);
    case AtomicRequest::Operation::kCompareSwap: {
      std::uint64_t former = request.expected;
      value.compare_exchange_strong(former, request.operand);
      return former;
    }
    case AtomicRequest::Operation::kFetch: return value.load();
    case AtomicRequest::Operation::kFetchAnd: return value.fetch_and(request.operand);
    case AtomicRequest::Operation::kFetchOr: return value.fetch_or(request.operand);
    case AtomicRequest::Operation::kFetchXor: return value.fetch_xor(request.operand);
  }
  return value.load();
}

Status CheckAtomic(Rank rank, Zone zone, const AtomicRequest& request,
                   std::uint64_t allocated_bytes) {
  if (request.slot_offset % sizeof(std::uint64_t) != 0)
    return InvalidArgument("offset {} of an atomic operation on rank {} is no multiple of 8",
                           request.slot_offset, rank);
  Piece piece{nullptr, request.slot_offset, sizeof(std::uint64_t)};
  return CheckPieces(rank, zone, {&piece, 1}, allocated_bytes);
}

Status Port::Connect(const MemberAddress& peer, Deadline deadline) {
  return ConnectAll({&peer, 1}, deadline).front();
}

}  // namespace memfabric::transport
