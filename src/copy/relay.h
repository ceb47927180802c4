// copy/relay.h: global to global between ranks that are both behind links: piece by piece through a
// buffer of this process.
//
// Two halves: while one is put, the next piece is got into the other. Lives for one copy or batch,
// on its thread; ends with a Finish, whatever happened before.

#pragma once

#include <chrono>
#include <cstddef>
#include <memory>

#include "base/status.h"
#include "copy/counters.h"
#include "copy/resolver.h"
#include "transport/transport.h"

namespace memfabric::copy {

class Relay {
 public:
  static constexpr std::size_t kPieceBytes = 1 << 20;

  Relay(Counters& counters, std::chrono::nanoseconds flush_timeout)
      : counters_(counters), flush_timeout_(flush_timeout) {}

  // The bytes are in place once Finish has returned Ok. REQUIRES: both have links; size_bytes <=
  // kPieceBytes.
  Status Move(const Spot& source, const Spot& destination, std::size_t size_bytes);
  Status Finish();

  // Not null when a link did not say that it has done with the buffer: it must live on until the
  // links are gone.
  std::unique_ptr<std::byte[]> TakeUnreturned();

 private:
  Status Wait(transport::Link& link, std::size_t size_bytes);

  Counters& counters_;
  std::chrono::nanoseconds flush_timeout_;
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t half_bytes_ = 0;
  std::size_t half_ = 0;                      // the next to fill
  std::shared_ptr<transport::Link> putting_;  // the link that has the other half
  std::size_t putting_bytes_ = 0;             // of the other half
  bool unreturned_ = false;
};

}  // namespace memfabric::copy
