#include "transport/tcp/request.h"

#include <algorithm>
#include <utility>

#include "memory/bounce.h"

namespace memfabric::transport::tcp {

void Bounds::Add(std::uint64_t from, std::uint64_t size_bytes) {
  if (size_bytes == 0) return;
  begin = std::min(begin, from);
  end = std::max(end, from + size_bytes);
}

Result<QueuedRequest> QueuedRequest::Move(Op op, Zone zone, std::span<const Piece> pieces) {
  QueuedRequest queued;
  Request& request = queued.request;
  request.op = op;
  request.zone = IsRegistered(op) ? 0 : static_cast<std::uint8_t>(Index(zone));
  std::vector<iovec> parts;
  parts.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    request.size_bytes += piece.size_bytes;
    request.target.Add(piece.target, piece.size_bytes);
    request.local.Add(reinterpret_cast<std::uint64_t>(piece.local), piece.size_bytes);
    if (piece.size_bytes > 0) parts.push_back({piece.local, piece.size_bytes});
  }
  Header& header = queued.header;
  header.op = op;
  header.zone = request.zone;
  header.count = static_cast<std::uint32_t>(pieces.size());
  header.size_bytes = request.size_bytes;
  if (pieces.size() == 1) header.target = pieces[0].target;
  if (parts.empty()) return queued;
  // Found out later, it would cost what the remote range holds.
  if (op == Op::kPut || op == Op::kPutRegistered) {
    for (const iovec& part : parts) {
      if (part.iov_len >= kCheapCheckBytes)
        RETURN_IF_ERROR(CheckOwnMemory(part.iov_base, part.iov_len, false));
    }
  }
  if (pieces.size() > 1) queued.frame.body = EncodeTable(pieces);
  (PayloadBytes(header) > 0 ? queued.frame.payload : request.destination) = std::move(parts);
  queued.frame.unknown = !queued.frame.payload.empty();
  return queued;
}

QueuedRequest QueuedRequest::Signal(Zone zone, std::uint64_t slot_offset,
                                    std::span<const std::byte> bytes) {
  QueuedRequest queued;
  queued.request.op = Op::kSignal;
  queued.request.zone = static_cast<std::uint8_t>(Index(zone));
  queued.request.target.Add(slot_offset, bytes.size());
  queued.frame.body.assign(bytes.begin(), bytes.end());
  queued.header = {.op = Op::kSignal,
                   .zone = queued.request.zone,
                   .count = 1,
                   .target = slot_offset,
                   .size_bytes = bytes.size()};
  return queued;
}

QueuedRequest QueuedRequest::Atomic(Zone zone, const AtomicRequest& atomic,
                                    std::shared_ptr<Cell> cell) {
  QueuedRequest queued;
  queued.request.op = Op::kAtomic;
  queued.request.zone = static_cast<std::uint8_t>(Index(zone));
  queued.request.target.Add(atomic.slot_offset, sizeof(std::uint64_t));
  queued.request.cell = std::move(cell);
  auto operands = EncodeOperands(atomic);
  queued.frame.body.assign(operands.begin(), operands.end());
  queued.header = {.op = Op::kAtomic,
                   .zone = queued.request.zone,
                   .count = static_cast<std::uint32_t>(atomic.operation),
                   .target = atomic.slot_offset,
                   .size_bytes = operands.size()};
  return queued;
}

}  // namespace memfabric::transport::tcp
