// transport/mapped/mapped_link.h: a peer whose memory is mapped at its slot in our window; moving bytes is copying them.
//
// Owned by its port and by the pool, whoever lets go last. Threads: any. Grow and MarkDown come from the reactor's.
// Memory order: Grow publishes with release after the mapping stands; Put and Get read with acquire.

#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>

#include "address/window.h"
#include "transport/transport.h"

namespace memfabric::transport {

class MappedLink final : public Link {
 public:
  // `slots` are where the peer's zones begin in the window.
  MappedLink(Rank rank, std::uint64_t epoch, std::shared_ptr<Window> window, const std::array<std::byte*, kZones>& slots,
             const ZoneBytes& allocated_bytes);

  Rank rank() const override { return rank_; }
  std::uint64_t epoch() const override { return epoch_; }
  std::string_view path() const override { return "mapped"; }
  Capabilities capabilities() const override;
  ZoneBytes allocated_bytes() const override;
  Status Put(Zone zone, std::span<const Piece> pieces) override;
  Status Get(Zone zone, std::span<const Piece> pieces) override;
  Status Flush(Deadline deadline) override;

  void Grow(const ZoneBytes& allocated_bytes);
  void MarkDown(const Status& why);

 private:
  Status DownStatus() const;
  Status Check(Zone zone, std::span<const Piece> pieces) const;

  const Rank rank_;
  const std::uint64_t epoch_;
  const std::shared_ptr<Window> window_;  // keeps the mappings; shared with the pool
  const std::array<std::byte*, kZones> slots_;
  std::array<std::atomic<std::uint64_t>, kZones> allocated_bytes_;
  std::atomic<bool> down_{false};
  mutable std::mutex mutex_;  // guards why_
  Status why_;
};

}  // namespace memfabric::transport
