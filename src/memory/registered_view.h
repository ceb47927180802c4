// memory/registered_view.h: a peer's table of registrations, as this process maps it
// (registered_layout.h), and this process's count of transfers into that peer's memory.
//
// What the table holds is the peer's word: every number is checked before it counts, and no read of
// it waits without bound. Owner: a link. Threads: any.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/fd.h"
#include "base/mapping.h"
#include "base/status.h"
#include "memory/registered_layout.h"

namespace memfabric {

// The page that tells a peer how many transfers into its memory this process has in flight.
struct InFlightPage {
  UniqueFd file;
  Mapping mapping;
  registered::InFlight& counts() const {
    return *reinterpret_cast<registered::InFlight*>(mapping.data());
  }

  static Result<std::shared_ptr<InFlightPage>> Create();
  // A peer's, to be read. InvalidArgument: it is no such file.
  static Result<Mapping> Open(int file);
};

class RegisteredView {
 public:
  // InvalidArgument: the file is no table, or can be changed by others than its owner. `page` is
  // shared with the backend that sends its file.
  static Result<std::unique_ptr<RegisteredView>> Open(int file, std::shared_ptr<InFlightPage> page);

  // Counts a transfer in for as long as it lives.
  class Transfer {
   public:
    explicit Transfer(RegisteredView& view);
    ~Transfer() { view_.page_->counts().inside[parity_].fetch_sub(1, std::memory_order_seq_cst); }
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;

   private:
    RegisteredView& view_;
    std::uint64_t parity_;
  };

  // What is found between Begin and an End that returns true is the table as it was at one moment.
  // REQUIRES: a Transfer lives. None: the peer is changing it right now.
  std::optional<std::uint64_t> BeginRead() const;
  bool EndRead(std::uint64_t version) const;
  // Whether all of it is registered. *first: in, a range to look at first; out, the one that holds
  // the begin.
  bool Covers(std::uint64_t address, std::uint64_t size_bytes, registered::Range* first) const;

  const registered::Header& header() const {
    return *reinterpret_cast<const registered::Header*>(mapping_.data());
  }

  RegisteredView(Mapping mapping, std::shared_ptr<InFlightPage> page)
      : mapping_(std::move(mapping)), page_(std::move(page)) {}

 private:
  registered::Range RangeAt(std::uint64_t index) const;

  const Mapping mapping_;
  const std::shared_ptr<InFlightPage> page_;
};

}  // namespace memfabric
