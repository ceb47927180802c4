// copy/link_mover.h: gathers pieces for links and hands them over in requests as large as a link
// takes.
//
// Flushes on its own from time to time, so that flush_timeout bounds the wait for progress and not
// the size of a copy.
//
// Lives for one copy or batch, on its thread. Ends with a Flush, whatever happened before: until
// that has returned Ok, links may still read and write the local ranges.

#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "base/status.h"
#include "copy/counters.h"
#include "transport/transport.h"

namespace memfabric::copy {

class LinkMover {
 public:
  LinkMover(Counters& counters, std::chrono::nanoseconds flush_timeout)
      : counters_(counters), flush_timeout_(flush_timeout) {}

  Status Put(const std::shared_ptr<transport::Link>& link, Zone zone,
             const transport::Piece& piece) {
    return Add(Operation::kPut, link, zone, piece);
  }
  Status Get(const std::shared_ptr<transport::Link>& link, Zone zone,
             const transport::Piece& piece) {
    return Add(Operation::kGet, link, zone, piece);
  }

  // Hands over what is gathered and waits until all of it is in place, on every link; the first
  // error, naming its rank.
  Status Flush();

 private:
  enum class Operation : unsigned char { kPut, kGet };

  Status Add(Operation operation, const std::shared_ptr<transport::Link>& link, Zone zone,
             const transport::Piece& piece);
  Status Send();

  // A link with what it was handed since its last flush.
  struct Unflushed {
    std::shared_ptr<transport::Link> link;
    PathCounts moving;
  };

  Counters& counters_;
  std::chrono::nanoseconds flush_timeout_;
  Operation operation_ = Operation::kPut;  // of pieces_, as the next two
  Zone zone_ = Zone::kHost;
  std::shared_ptr<transport::Link> link_;
  std::size_t max_pieces_ = 1;
  std::vector<transport::Piece> pieces_;
  std::vector<Unflushed> unflushed_;
  std::uint64_t unflushed_bytes_ = 0;
};

// link->Flush, bounded by `timeout`, its error naming the rank. Counts `moving` when it is in
// place, an error when it isn't.
Status FlushLink(transport::Link& link, std::chrono::nanoseconds timeout, const PathCounts& moving,
                 Counters& counters);

}  // namespace memfabric::copy
