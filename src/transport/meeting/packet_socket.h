// transport/meeting/packet_socket.h: a connected local socket whose packets go out in order without
// ever blocking.
//
// Shared by its connection and by links that send through it. Threads: Post from any; everything
// else on the reactor's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.h"
#include "transport/meeting/peer_venue.h"
#include "transport/reactor.h"
#include "transport/unix_socket.h"

namespace memfabric::transport {

class PacketSocket final : public MessageSocket, public std::enable_shared_from_this<PacketSocket> {
 public:
  PacketSocket(Reactor& reactor, UniqueFd socket) : reactor_(reactor), socket_(std::move(socket)) {}
  ~PacketSocket() override { Close(); }

  Status Watch(std::function<void(bool hung_up)> on_ready) override;
  Packet Receive(std::span<std::byte> buffer) override {
    return ReceivePacket(socket_.get(), buffer);
  }
  void Send(std::vector<std::byte> bytes, std::vector<int> files = {},
            std::shared_ptr<const void> owner = nullptr) override;
  void Post(std::vector<std::byte> bytes) override;
  std::size_t waiting_packets() const override { return outbox_.size(); }
  void Close() override;
  // Of who is at the other end, 0 for none that this process can see.
  pid_t peer_pid() const;

 private:
  struct Outgoing {
    std::vector<std::byte> bytes;
    std::vector<int> files;
    std::shared_ptr<const void> owner;
  };
  void Flush();

  Reactor& reactor_;
  UniqueFd socket_;
  // shared: a callback that replaces or closes this runs on
  std::shared_ptr<std::function<void(bool)>> on_ready_;
  std::deque<Outgoing> outbox_;
  bool waiting_for_room_ = false;
  Reactor::TimerId retry_ = 0;
};

}  // namespace memfabric::transport
