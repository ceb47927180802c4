#include "transport/tcp/tcp_link.h"

namespace memfabric::transport {
namespace {

Status CheckCount(std::size_t pieces) {
  if (pieces <= tcp::kMaxPieces) return Ok();
  return InvalidArgument("{} pieces, {} go at once", pieces, tcp::kMaxPieces);
}

}  // namespace

TcpLink::~TcpLink() {
  connection_->SetDown(Disconnected("the link to rank {} is closed", peer_.rank));
}

ZoneBytes TcpLink::allocated_bytes() const {
  ZoneBytes bytes;
  for (std::size_t zone = 0; zone < kZones; ++zone)
    bytes[zone] = allocated_bytes_[zone].load(std::memory_order_acquire);
  return bytes;
}

Status TcpLink::Check(Zone zone, std::span<const Piece> pieces) const {
  RETURN_IF_ERROR(CheckCount(pieces.size()));
  return CheckPieces(peer_.rank, zone, pieces,
                     allocated_bytes_[Index(zone)].load(std::memory_order_acquire));
}

Status TcpLink::Put(Zone zone, std::span<const Piece> pieces) {
  RETURN_IF_ERROR(Check(zone, pieces));
  return connection_->Start(tcp::Op::kPut, zone, pieces);
}

Status TcpLink::Get(Zone zone, std::span<const Piece> pieces) {
  RETURN_IF_ERROR(Check(zone, pieces));
  return connection_->Start(tcp::Op::kGet, zone, pieces);
}

Status TcpLink::Put(std::span<const Piece> pieces) {
  RETURN_IF_ERROR(CheckCount(pieces.size()));
  return connection_->Start(tcp::Op::kPutRegistered, Zone::kHost, pieces);
}

Status TcpLink::Get(std::span<const Piece> pieces) {
  RETURN_IF_ERROR(CheckCount(pieces.size()));
  return connection_->Start(tcp::Op::kGetRegistered, Zone::kHost, pieces);
}

Result<std::uint64_t> TcpLink::Atomic(Zone zone, const AtomicRequest& request, Deadline deadline) {
  RETURN_IF_ERROR(CheckAtomic(peer_.rank, zone, request,
                              allocated_bytes_[Index(zone)].load(std::memory_order_acquire)));
  return connection_->Atomic(zone, request, deadline);
}

Status TcpLink::Signal(Zone zone, std::uint64_t slot_offset, std::span<const std::byte> bytes,
                       Deadline) {
  if (bytes.empty() || bytes.size() > kMaxSignalBytes)
    return InvalidArgument("a signal of {} bytes; it must have from 1 to {}", bytes.size(),
                           kMaxSignalBytes);
  Piece piece{nullptr, slot_offset, bytes.size()};
  RETURN_IF_ERROR(Check(zone, {&piece, 1}));
  return connection_->Signal(zone, slot_offset, bytes);
}

Status TcpLink::AwaitSignal(Deadline deadline, const std::function<Status()>& begin,
                            const std::function<bool()>& done) {
  return connection_->AwaitSignal(deadline, begin, done);
}

Status TcpLink::Grow(const PeerContribution& contribution) {
  for (std::size_t zone = 0; zone < kZones; ++zone) {
    allocated_bytes_[zone].store(contribution.bytes.allocated_bytes[zone],
                                 std::memory_order_release);
  }
  return Ok();
}

Status TcpLink::OnData(std::span<const std::byte>, std::span<UniqueFd>) {
  return InvalidArgument("DATA of another transport");
}

}  // namespace memfabric::transport
