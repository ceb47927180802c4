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
#include "transport/local_peer.h"
#include "transport/shared_file.h"

namespace memfabric::transport {

class MappedLink final : public LocalLink {
 public:
  // `slots` are where the peer's zones begin, as offsets in the window. Nothing is mapped before Grow.
  MappedLink(Rank rank, std::uint64_t epoch, std::shared_ptr<Window> window, const std::array<std::uint64_t, kZones>& slots);

  Rank rank() const override { return rank_; }
  std::uint64_t epoch() const override { return epoch_; }
  std::string_view path() const override { return "mapped"; }
  Capabilities capabilities() const override;
  ZoneBytes allocated_bytes() const override;
  Status Put(Zone zone, std::span<const Piece> pieces) override;
  Status Get(Zone zone, std::span<const Piece> pieces) override;
  Status PutRegistered(std::span<const Piece> pieces) override;
  Status GetRegistered(std::span<const Piece> pieces) override;
  Result<std::uint64_t> Atomic(Zone zone, const AtomicRequest& request, Deadline deadline) override;
  Status Flush(Bound) override;

  void MarkDown(const Status& why) override;
  // Maps what is new. All files are checked before one is mapped.
  Status Grow(const LocalContribution& contribution) override;
  Status OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) override;
  void OnConfirmed() override {}

 private:
  Status DownStatus() const;
  Status Check(Zone zone, std::span<const Piece> pieces) const;

  const Rank rank_;
  const std::uint64_t epoch_;
  const std::shared_ptr<Window> window_;  // keeps the mappings; shared with the pool
  const std::array<std::uint64_t, kZones> slots_;
  std::array<std::atomic<std::uint64_t>, kZones> allocated_bytes_{};
  std::array<FileIdentity, kZones> files_;  // the reactor's thread only
  std::atomic<bool> down_{false};
  mutable std::mutex mutex_;  // guards why_
  Status why_;
};

}  // namespace memfabric::transport
