// transport/tcp/frame.h: what two ends of a TCP connection say to each other once both are
// authenticated. docs/tcp.md has the sequence.
//
// The stream is a sequence of frames: a header of 40 bytes, then for a list a table of its pieces,
// then payload. Integers are little-endian. The first frame of each end is its PREFACE. CONTROL
// carries a message of peer_protocol.h; everything else is about memory: requests, and answers to
// them.
//
// Bytes of a peer are untrusted: the parsers are pure functions of them. No state; any thread.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "address/global_address.h"
#include "base/status.h"
#include "transport/transport.h"

namespace memfabric::transport::tcp {

constexpr std::uint16_t kWireVersion = 3;
constexpr std::size_t kHeaderBytes = 40;
constexpr std::size_t kMaxPieces = 1024;
constexpr std::size_t kPieceBytes = 16;
// the largest message of peer_protocol.h but for DATA, which isn't sent here
constexpr std::size_t kMaxControlBytes = 512;
constexpr std::size_t kMaxErrorBytes = 400;
// Requests of one end that wait for an answer of their own (all but PUT and SIGNAL). More break the
// protocol: so what an end has to remember for its peer is bounded, and it never has to stop
// reading.
constexpr std::size_t kMaxUnanswered = 64;

// A payload comes in segments: the first with its frame, each other behind a MORE of its own, so
// that who gives a transfer up is heard soon. All are this large but the last.
constexpr std::uint64_t kSegmentBytes = 1 << 20;

// Byte 0 of every frame: both ends have to mean the same, so a value never changes its meaning.
enum class Op : std::uint8_t {
  // count: version; token, target, size_bytes: the tokens of device zone, host zone, registered
  // memory
  kPreface = 1,
  kControl = 2,        // size_bytes of payload
  kPut = 3,            // acknowledged by ACK
  kGet = 4,            // answered by DATA
  kPutRegistered = 5,  // answered by DONE
  kGetRegistered = 6,  // answered by DATA and DONE, or by DONE alone, which says why
  kAtomic = 7,         // count: operation; payload: operand and expected value; answered by DONE
  kSignal = 8,         // as a PUT of one piece of at most kMaxSignalBytes; not acknowledged
  kAck = 9,            // all PUTs up to `sequence` are in place
  kData = 10,          // of request `sequence`, whole
  // of request `sequence`; kind: kOk, or of the error whose text is the payload; value: what an
  // ATOMIC's cell held. Of a PUT or GET only with an error; then before the PUT's ACK, and instead
  // of DATA or after its ABORT
  kDone = 11,
  kPing = 12,  // answered by PONG at once
  kPong = 13,
  kMore = 14,    // size_bytes: the next segment of the payload under way, which is `sequence`'s
  kAbort = 15,   // instead of MORE: the rest isn't coming; after DATA, DONE follows
  kCancel = 16,  // the DATA of request `sequence` isn't wanted any more
};
constexpr std::uint8_t kLastOp = static_cast<std::uint8_t>(Op::kCancel);

// The tokens of an end: random, told in its preface, carried by every request to it.
constexpr std::size_t kTokens = kZones + 1;
constexpr std::size_t kRegisteredToken = kZones;
using Tokens = std::array<std::uint64_t, kTokens>;

struct Header {
  Op op = Op::kPing;
  std::uint8_t zone = 0;
  Kind kind = Kind::kOk;    // of DONE, in the place of zone
  std::uint32_t count = 0;  // pieces of a request
  std::uint64_t sequence = 0;
  std::uint64_t token = 0;
  std::uint64_t target = 0;      // of a request's only piece
  std::uint64_t value = 0;       // of DONE, in the place of target
  std::uint64_t size_bytes = 0;  // of the payload; of GETs: of what they ask for

  bool operator==(const Header&) const = default;
};

using HeaderBytes = std::array<std::byte, kHeaderBytes>;
HeaderBytes EncodeHeader(const Header& header);
// InvalidArgument: a header that no end sends, and what is wrong with it. Accepts exactly what
// EncodeHeader makes.
Result<Header> ParseHeader(std::span<const std::byte, kHeaderBytes> bytes);

std::string_view OpName(Op op);
// PUT, GET, and so on: what carries a token.
bool IsRequest(Op op);
bool IsRegistered(Op op);
// Requests that wait for an answer of their own.
bool IsAnswered(Op op);
// Bytes between header and payload.
std::size_t TableBytes(const Header& header);
// Bytes after header and table.
std::uint64_t PayloadBytes(const Header& header);

// One piece at the target.
struct TargetRange {
  std::uint64_t target = 0;
  std::uint64_t size_bytes = 0;
  bool operator==(const TargetRange&) const = default;
};
std::vector<std::byte> EncodeTable(std::span<const Piece> pieces);
// The pieces of a request. InvalidArgument: they don't add up to the header's size_bytes. REQUIRES:
// TableBytes(header) of them.
Result<std::vector<TargetRange>> ParseTable(const Header& header, std::span<const std::byte> bytes);

Header EncodePreface(const Tokens& tokens);
// Unsupported names both versions.
Result<Tokens> ParsePreface(const Header& header);

// The payload of an ATOMIC.
std::array<std::byte, 16> EncodeOperands(const AtomicRequest& request);
AtomicRequest ParseAtomic(const Header& header, std::span<const std::byte, 16> operands);

}  // namespace memfabric::transport::tcp
