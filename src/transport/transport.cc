#include "transport/transport.h"

namespace memfabric::transport {

std::string MemberAddress::ToString() const { return fmt::format("rank {} (host {}, pid {})", rank, host, pid); }

Status CheckPieces(Rank rank, Zone zone, std::span<const Piece> pieces, std::uint64_t allocated_bytes) {
  for (const Piece& piece : pieces) {
    if (piece.size_bytes <= allocated_bytes && piece.remote_offset <= allocated_bytes - piece.size_bytes) continue;
    return InvalidArgument("{} bytes at offset {} leave the {} bytes that rank {} has allocated in its {} zone",
                           piece.size_bytes, piece.remote_offset, allocated_bytes, rank, ZoneName(zone));
  }
  return Ok();
}

Status Port::Connect(const MemberAddress& peer, Deadline deadline) { return ConnectAll({&peer, 1}, deadline).front(); }

}  // namespace memfabric::transport
