// transport/tcp/tcp_link.h: a peer at the other end of a TCP connection.
//
// Owned by its port and by the pool, whoever lets go last. Threads: any. Grow and MarkDown come
// from the reactor's.

#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "transport/meeting/peer_backend.h"
#include "transport/tcp/connection.h"

namespace memfabric::transport {

class TcpLink final : public PeerLink {
 public:
  static constexpr Capabilities kCapabilities{
      .load_store = false, .atomics = true, .registered = true, .max_pieces = tcp::kMaxPieces};

  TcpLink(Rank rank, std::uint64_t epoch, std::shared_ptr<tcp::TcpConnection> connection)
      : rank_(rank), epoch_(epoch), connection_(std::move(connection)) {}
  ~TcpLink() override;

  Rank rank() const override { return rank_; }
  std::uint64_t epoch() const override { return epoch_; }
  std::string_view path() const override { return connection_->encrypted() ? "tcp+tls" : "tcp"; }
  Capabilities capabilities() const override { return kCapabilities; }
  ZoneBytes allocated_bytes() const override;
  Status Put(Zone zone, std::span<const Piece> pieces) override;
  Status Get(Zone zone, std::span<const Piece> pieces) override;
  Status PutRegistered(std::span<const Piece> pieces) override;
  Status GetRegistered(std::span<const Piece> pieces) override;
  Result<std::uint64_t> Atomic(Zone zone, const AtomicRequest& request, Deadline deadline) override;
  Status Signal(Zone zone, std::uint64_t remote_offset, std::span<const std::byte> bytes,
                Deadline deadline) override;
  Status AwaitSignal(Deadline deadline, const std::function<Status()>& begin,
                     const std::function<bool()>& done) override;
  Status Flush(Bound bound) override { return connection_->Flush(bound); }

  void MarkDown(const Status& why) override { connection_->SetDown(why); }
  Status Grow(const PeerContribution& contribution) override;
  Status OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) override;
  void OnConfirmed() override {}

 private:
  Status Check(Zone zone, std::span<const Piece> pieces) const;

  const Rank rank_;
  const std::uint64_t epoch_;
  const std::shared_ptr<tcp::TcpConnection> connection_;  // shared with the port
  std::array<std::atomic<std::uint64_t>, kZones> allocated_bytes_{};
};

}  // namespace memfabric::transport
