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

class TcpLink final : public PeerLink,
                      public ZoneAccess,
                      public RegisteredAccess,
                      public Signalling {
 public:
  TcpLink(const MemberLife& peer, std::shared_ptr<tcp::TcpConnection> connection)
      : peer_(peer), connection_(std::move(connection)) {}
  ~TcpLink() override;

  MemberLife peer() const override { return peer_; }
  std::string_view path() const override { return connection_->encrypted() ? "tcp+tls" : "tcp"; }
  ZoneAccess* zones() override { return this; }
  RegisteredAccess* registered() override { return this; }
  Signalling* signals() override { return this; }
  Status Flush(Bound bound) override { return connection_->Flush(bound); }

  ZoneBytes allocated_bytes() const override;
  const ZoneChunks* load_store() const override { return nullptr; }
  Status Put(Zone zone, std::span<const Piece> pieces) override;
  Status Get(Zone zone, std::span<const Piece> pieces) override;

  bool reaches_all() const override { return true; }
  bool parallel() const override { return false; }
  Status Put(std::span<const Piece> pieces) override;
  Status Get(std::span<const Piece> pieces) override;

  // of ZoneAccess and of RegisteredAccess
  std::size_t max_pieces() const override { return tcp::kMaxPieces; }

  Result<std::uint64_t> Atomic(Zone zone, const AtomicRequest& request, Deadline deadline) override;
  Status Signal(Zone zone, std::uint64_t slot_offset, std::span<const std::byte> bytes,
                Deadline deadline) override;
  Status AwaitSignal(Deadline deadline, const std::function<Status()>& begin,
                     const std::function<bool()>& done) override;

  void MarkDown(const Status& why) override { connection_->SetDown(why); }
  Status Grow(const PeerContribution& contribution) override;
  Status OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) override;
  void OnConfirmed() override {}

 private:
  Status Check(Zone zone, std::span<const Piece> pieces) const;

  const MemberLife peer_;
  const std::shared_ptr<tcp::TcpConnection> connection_;  // shared with the port
  std::array<std::atomic<std::uint64_t>, kZones> allocated_bytes_{};
};

}  // namespace memfabric::transport
