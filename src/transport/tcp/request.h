// transport/tcp/request.h: what this end asks of the other's memory. Values of Outbound's.

#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/status.h"
#include "transport/tcp/outgoing.h"

namespace memfabric::transport::tcp {

// What moves more is waited for asleep: for less it is worth to poll.
constexpr std::uint64_t kBulkBytes = 64 << 10;

// A range of addresses or offsets that encloses all of a list.
struct Bounds {
  std::uint64_t begin = ~std::uint64_t{0};
  std::uint64_t end = 0;
  void Add(std::uint64_t from, std::uint64_t size_bytes);
  bool Meets(const Bounds& other) const { return begin < other.end && other.begin < end; }
};

// How an ATOMIC went. Shared with its caller, who may give up.
struct Cell {
  std::uint64_t value = 0;
  Status status;
  bool is_known = false;
};

// A request that isn't sent yet, or waits for its own answer.
struct Request {
  Op op = Op::kPut;
  std::uint8_t zone = 0;
  std::uint64_t sequence = 0;
  Bounds target;
  Bounds local;
  std::vector<iovec> destination;  // of GETs
  std::uint64_t size_bytes = 0;
  std::thread::id by;
  std::shared_ptr<Cell> cell;
  bool has_data = false;
  bool aborted = false;   // its DATA ended early
  bool given_up = false;  // what comes for it is dropped

  bool is_get() const { return op == Op::kGet || op == Op::kGetRegistered; }
};

// A request with its frame, whose header gets its sequence and token when it is enqueued.
struct QueuedRequest {
  Request request;
  Header header;
  Outgoing frame;

  // PUT or GET, of a zone or of registered memory. Nothing to move: header.size_bytes is 0.
  // InvalidArgument: local memory can't be read. REQUIRES: at most kMaxPieces.
  static Result<QueuedRequest> Move(Op op, Zone zone, std::span<const Piece> pieces);
  static QueuedRequest Signal(Zone zone, std::uint64_t slot_offset,
                              std::span<const std::byte> bytes);
  static QueuedRequest Atomic(Zone zone, const AtomicRequest& atomic, std::shared_ptr<Cell> cell);
};

}  // namespace memfabric::transport::tcp
