// transport/mapped/mapped_link.h: a peer whose memory is mapped at its slot in our window; moving
// bytes is copying them.
//
// Before the first touch of a chunk of the peer's memory the peer is asked to take pages for it
// (memory/backed_chunks.h). The peer's end of the link does that, a chunk a turn of its reactor.
//
// Owned by its port and by the pool, whoever lets go last. Threads: any. Grow, OnData and MarkDown
// come from the reactor's. Memory order: Grow publishes with release after the mapping stands; Put
// and Get read with acquire.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>

#include "address/window.h"
#include "transport/meeting/peer_backend.h"
#include "transport/reactor.h"
#include "transport/shared_file.h"

namespace memfabric::transport {

class MappedLink final : public PeerLink,
                         public ZoneAccess,
                         public std::enable_shared_from_this<MappedLink> {
 public:
  struct Options {
    MemberLife peer;
    std::shared_ptr<Window> window;  // keeps the mappings; shared with the pool
    // where the peer's zones begin, as offsets in the window
    std::array<std::uint64_t, kZones> slots{};
    ZoneBytes max_bytes{};  // of a slot
    // this member's. Outlive the link's being up
    std::array<const Segment*, kZones> own_segments{};
    std::shared_ptr<MessageSocket> socket;  // shared with the port's connection
    Reactor* reactor = nullptr;             // outlives the link
  };
  // Nothing is mapped before Grow. REQUIRES: made by make_shared.
  explicit MappedLink(Options options);

  MemberLife peer() const override { return options_.peer; }
  std::string_view path() const override { return "mapped"; }
  ZoneAccess* zones() override { return this; }
  RegisteredAccess* registered() override { return nullptr; }
  Signalling* signals() override { return nullptr; }
  Status Flush(Bound) override;

  ZoneBytes allocated_bytes() const override;
  const ZoneChunks* load_store() const override { return &chunks_; }
  std::size_t max_pieces() const override { return std::numeric_limits<std::size_t>::max(); }
  Status Put(Zone zone, std::span<const Piece> pieces) override;
  Status Get(Zone zone, std::span<const Piece> pieces) override;

  void MarkDown(const Status& why) override;
  // Maps what is new. All files are checked before one is mapped.
  Status Grow(const PeerContribution& contribution) override;
  Status OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) override;
  void OnConfirmed() override {}

 private:
  // What the peer has asked for.
  struct Wanted {
    Zone zone;
    std::uint64_t next;  // chunk
    std::uint64_t end;
  };

  Status DownStatus() const;
  Status Prepare(Zone zone, std::span<const Piece> pieces) const;
  std::byte* Slot(Zone zone) const { return options_.window->data() + options_.slots[Index(zone)]; }
  Status OnWanted(Zone zone, std::uint64_t first, std::uint64_t count);
  void BackOne();
  void BackLater(std::chrono::milliseconds wait = {});

  const Options options_;
  ZoneChunks chunks_;          // shared with whoever copies
  std::deque<Wanted> wanted_;  // the reactor's thread only
  std::array<std::atomic<std::uint64_t>, kZones> allocated_bytes_{};
  std::array<FileIdentity, kZones> files_;  // the reactor's thread only
  std::atomic<bool> down_{false};
  mutable std::mutex mutex_;  // guards why_
  Status why_;
};

}  // namespace memfabric::transport
