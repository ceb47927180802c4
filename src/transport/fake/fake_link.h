// transport/fake/fake_link.h: one end of a connection that moves bytes by messages; it asks, and it
// answers the other end.
//
// Owned by its port and by whoever uses it. Threads: any; OnData, Grow and MarkDown on the
// reactor's. One mutex.

#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/mapping.h"
#include "transport/fake/fake_transport.h"
#include "transport/meeting/peer_backend.h"

namespace memfabric::transport {

// This member's memory as the reactor reaches it. Whole slots are mapped; what is allocated is the
// segment's truth.
struct FakeMemory {
  std::array<const Segment*, kZones> segments{};
  std::array<Mapping, kZones> mappings;
};

class FakeLink final : public PeerLink, public ZoneAccess {
 public:
  // `memory` is shared with the port's other links; `faults` may be null.
  FakeLink(const MemberLife& peer, std::shared_ptr<const FakeMemory> memory,
           std::shared_ptr<MessageSocket> socket, FakeFaults* faults);

  MemberLife peer() const override { return peer_; }
  std::string_view path() const override { return "fake"; }
  ZoneAccess* zones() override { return this; }
  RegisteredAccess* registered() override { return nullptr; }
  Signalling* signals() override { return nullptr; }
  Status Flush(Bound bound) override;

  ZoneBytes allocated_bytes() const override;
  const ZoneChunks* load_store() const override { return nullptr; }
  std::size_t max_pieces() const override { return FakeTransport::kMaxPieces; }
  Status Put(Zone zone, std::span<const Piece> pieces) override;
  Status Get(Zone zone, std::span<const Piece> pieces) override;

  void MarkDown(const Status& why) override;
  Status Grow(const PeerContribution& contribution) override;
  Status OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) override;
  void OnConfirmed() override {}

 private:
  // What an answer to a request does here: nothing for a put, a copy to `local` for a get.
  struct Request {
    std::byte* local;        // null for a put, and for a get that was given up
    std::size_t size_bytes;  // of the answer
    std::thread::id by;
  };

  Status Start(Zone zone, std::span<const Piece> pieces, bool put);
  Status OnRequest(std::span<const std::byte> bytes);
  Status OnAnswer(std::span<const std::byte> bytes);

  const MemberLife peer_;
  const std::shared_ptr<const FakeMemory> memory_;
  const std::shared_ptr<MessageSocket> socket_;  // shared with the port's connection
  FakeFaults* const faults_;
  std::uint64_t moved_bytes_ = 0;  // for the other end; the reactor's thread only

  // guards all below; held while packets are posted, so that they go in the order of requests_
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Status why_down_;
  ZoneBytes allocated_bytes_{};
  std::deque<Request> requests_;  // not answered yet, oldest first
  std::uint64_t started_ = 0;
  std::uint64_t answered_ = 0;
};

}  // namespace memfabric::transport
