// transport/tcp/outgoing.h: a frame on its way out. A value of Outbound's.

#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "base/status.h"
#include "transport/tcp/frame.h"

namespace memfabric::transport::tcp {

struct Outgoing {
  HeaderBytes header{};
  std::vector<std::byte> body;  // table, message, text
  std::vector<iovec> payload;
  bool answer = false;            // to a request of the peer's that waits for it
  bool is_data = false;           // DATA, or a later segment of it
  bool is_rest = false;           // a segment that isn't the first
  bool unknown = false;           // payload is a user's memory, which may not be there
  bool registered_bytes = false;  // payload is memory that may be deregistered meanwhile
  bool lent = false;              // payload is in a user's file: what goes out is `copy`
  bool done_follows = false;
  bool given_up = false;  // of what isn't committed yet: ABORT is sent instead
  std::vector<std::byte> copy;
  Status error;  // of DATA: what DONE will say
  std::uint64_t sequence = 0;
  std::thread::id by;    // whose memory payload is, of requests
  std::size_t part = 0;  // where sending goes on: 0 header, 1 body, then payload
  std::size_t part_done = 0;

  static Outgoing Frame(const Header& header);
  // `value`: what an ATOMIC's cell held.
  static Outgoing Done(std::uint64_t sequence, const Status& status, std::uint64_t value = 0);

  std::size_t parts() const { return 2 + payload.size(); }
  iovec PartAt(std::size_t index);
  std::uint64_t payload_bytes() const;
  std::uint64_t size_bytes() const { return header.size() + body.size() + payload_bytes(); }
  // The peer has begun to get it, or a segment before it.
  bool has_begun() const { return is_rest || part > 0 || part_done > 0; }
  // What isn't sent yet of the payload.
  std::vector<iovec> UnsentPayload() const;

  // Cuts the frame behind the first segment of its payload; returns what comes behind that.
  std::optional<Outgoing> SplitRest();
  // Sends zeros in place of what isn't sent yet of the payload.
  void SendZeros();
};

}  // namespace memfabric::transport::tcp
