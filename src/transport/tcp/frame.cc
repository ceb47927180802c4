#include "transport/tcp/frame.h"

#include <cstring>

namespace memfabric::transport::tcp {
namespace {

constexpr std::uint16_t kMagic = 0x4d54;
constexpr std::uint32_t kOperations =
    static_cast<std::uint32_t>(AtomicRequest::Operation::kFetchXor) + 1;

template <typename Integer>
void Put(std::byte* to, Integer value) {
  for (std::size_t i = 0; i < sizeof value; ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

template <typename Integer>
Integer Take(const std::byte* from) {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) {
    value = static_cast<Integer>(value |
                                 static_cast<Integer>(static_cast<Integer>(from[i]) << (8 * i)));
  }
  return value;
}

Status CheckHeader(const Header& header) {
  auto bad = [&](std::string_view what, std::uint64_t value) {
    return InvalidArgument("a {} with {} {}", OpName(header.op), what, value);
  };
  if (IsRequest(header.op)) {
    if (header.op != Op::kAtomic && (header.count == 0 || header.count > kMaxPieces))
      return bad("count", header.count);
    if (header.op == Op::kAtomic && header.count >= kOperations)
      return bad("operation", header.count);
    if (header.op == Op::kAtomic && header.size_bytes != 16) return bad("size", header.size_bytes);
    if (header.op == Op::kSignal && header.count != 1) return bad("count", header.count);
    if (header.op == Op::kSignal && (header.size_bytes == 0 || header.size_bytes > kMaxSignalBytes))
      return bad("size", header.size_bytes);
    if (header.zone >= (IsRegistered(header.op) ? 1 : kZones)) return bad("zone", header.zone);
    if (header.count > 1 && header.op != Op::kAtomic && header.target != 0)
      return bad("target", header.target);
    if (header.sequence == 0) return bad("sequence", 0);
    return Ok();
  }
  if (header.op == Op::kPreface) {
    if (header.zone != 0) return bad("zone", header.zone);
    return header.sequence == 0 ? Ok() : bad("sequence", header.sequence);
  }
  // The fields that the others have.
  const bool sized = header.op == Op::kControl || header.op == Op::kData ||
                     header.op == Op::kDone || header.op == Op::kMore;
  const bool sequenced = header.op == Op::kAck || header.op == Op::kData ||
                         header.op == Op::kDone || header.op == Op::kMore ||
                         header.op == Op::kAbort || header.op == Op::kCancel;
  if (header.count != 0) return bad("count", header.count);
  if (header.token != 0) return bad("token", header.token);
  if (!sized && header.size_bytes != 0) return bad("size", header.size_bytes);
  if (sequenced != (header.sequence != 0)) return bad("sequence", header.sequence);
  if (header.target != 0) return bad("target", header.target);
  if (header.zone != 0) return bad("zone", header.zone);
  if (header.op == Op::kControl &&
      (header.size_bytes == 0 || header.size_bytes > kMaxControlBytes)) {
    return bad("size", header.size_bytes);
  }
  if (header.op == Op::kMore && (header.size_bytes == 0 || header.size_bytes > kSegmentBytes))
    return bad("size", header.size_bytes);
  if (header.op == Op::kDone) {
    if (header.kind > Kind::kInternal) return bad("kind", static_cast<std::uint8_t>(header.kind));
    if (header.size_bytes > (header.kind == Kind::kOk ? 0 : kMaxErrorBytes))
      return bad("size", header.size_bytes);
  }
  return Ok();
}

}  // namespace

HeaderBytes EncodeHeader(const Header& header) {
  const bool done = header.op == Op::kDone;
  HeaderBytes bytes;
  Put(&bytes[0], static_cast<std::uint8_t>(header.op));
  Put(&bytes[1], done ? static_cast<std::uint8_t>(header.kind) : header.zone);
  Put(&bytes[2], kMagic);
  Put(&bytes[4], header.count);
  Put(&bytes[8], header.sequence);
  Put(&bytes[16], header.token);
  Put(&bytes[24], done ? header.value : header.target);
  Put(&bytes[32], header.size_bytes);
  return bytes;
}

Result<Header> ParseHeader(std::span<const std::byte, kHeaderBytes> bytes) {
  auto op = Take<std::uint8_t>(&bytes[0]);
  if (auto magic = Take<std::uint16_t>(&bytes[2]); magic != kMagic)
    return InvalidArgument("no frame: its magic is {:#x}", magic);
  if (op == 0 || op > kLastOp) return InvalidArgument("a frame of unknown type {}", op);
  Header header;
  header.op = static_cast<Op>(op);
  if (header.op == Op::kDone) {
    header.kind = static_cast<Kind>(bytes[1]);
    header.value = Take<std::uint64_t>(&bytes[24]);
  } else {
    header.zone = Take<std::uint8_t>(&bytes[1]);
    header.target = Take<std::uint64_t>(&bytes[24]);
  }
  header.count = Take<std::uint32_t>(&bytes[4]);
  header.sequence = Take<std::uint64_t>(&bytes[8]);
  header.token = Take<std::uint64_t>(&bytes[16]);
  header.size_bytes = Take<std::uint64_t>(&bytes[32]);
  RETURN_IF_ERROR(CheckHeader(header));
  return header;
}

std::string_view OpName(Op op) {
  constexpr std::array<std::string_view, kLastOp + 1> kNames{
      "?",      "PREFACE", "CONTROL", "PUT",  "GET",  "PUT_REGISTERED", "GET_REGISTERED",
      "ATOMIC", "SIGNAL",  "ACK",     "DATA", "DONE", "PING",           "PONG",
      "MORE",   "ABORT",   "CANCEL"};
  return kNames[static_cast<std::uint8_t>(op)];
}

bool IsRequest(Op op) { return op >= Op::kPut && op <= Op::kSignal; }
bool IsAnswered(Op op) { return IsRequest(op) && op != Op::kPut && op != Op::kSignal; }
bool IsRegistered(Op op) { return op == Op::kPutRegistered || op == Op::kGetRegistered; }

std::size_t TableBytes(const Header& header) {
  return IsRequest(header.op) && header.op != Op::kAtomic && header.count > 1
             ? header.count * kPieceBytes
             : 0;
}

std::uint64_t PayloadBytes(const Header& header) {
  const bool none =
      header.op == Op::kPreface || header.op == Op::kGet || header.op == Op::kGetRegistered;
  return none ? 0 : header.size_bytes;
}

std::vector<std::byte> EncodeTable(std::span<const Piece> pieces) {
  std::vector<std::byte> bytes(pieces.size() * kPieceBytes);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    Put(&bytes[i * kPieceBytes], pieces[i].target);
    Put(&bytes[i * kPieceBytes + 8], static_cast<std::uint64_t>(pieces[i].size_bytes));
  }
  return bytes;
}

Result<std::vector<TargetRange>> ParseTable(const Header& header,
                                            std::span<const std::byte> bytes) {
  if (header.count == 1) return std::vector<TargetRange>{{header.target, header.size_bytes}};
  std::vector<TargetRange> ranges(header.count);
  std::uint64_t left = header.size_bytes;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    ranges[i] = {Take<std::uint64_t>(&bytes[i * kPieceBytes]),
                 Take<std::uint64_t>(&bytes[i * kPieceBytes + 8])};
    if (ranges[i].size_bytes > left)
      return InvalidArgument("a {} with more bytes in its pieces", OpName(header.op));
    left -= ranges[i].size_bytes;
  }
  if (left != 0)
    return InvalidArgument("a {} with {} bytes that are in no piece", OpName(header.op), left);
  return ranges;
}

Header EncodePreface(const Tokens& tokens) {
  Header header;
  header.op = Op::kPreface;
  header.count = kWireVersion;
  header.token = tokens[0];
  header.target = tokens[1];
  header.size_bytes = tokens[2];
  return header;
}

Result<Tokens> ParsePreface(const Header& header) {
  if (header.op != Op::kPreface)
    return InvalidArgument("a {} instead of a PREFACE", OpName(header.op));
  if (header.count != kWireVersion)
    return Unsupported("tcp version {}, not {}", header.count, kWireVersion);
  return Tokens{header.token, header.target, header.size_bytes};
}

std::array<std::byte, 16> EncodeOperands(const AtomicRequest& request) {
  std::array<std::byte, 16> bytes;
  Put(&bytes[0], request.operand);
  Put(&bytes[8], request.expected);
  return bytes;
}

AtomicRequest ParseAtomic(const Header& header, std::span<const std::byte, 16> operands) {
  return {static_cast<AtomicRequest::Operation>(header.count), header.target,
          Take<std::uint64_t>(&operands[0]), Take<std::uint64_t>(&operands[8])};
}

}  // namespace memfabric::transport::tcp
