// transport/packet_socket.h: a connected local socket whose packets go out in order without ever blocking.
//
// Shared by its connection and by links that send through it. Threads: Post from any; everything else on the reactor's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.h"
#include "transport/local_socket.h"
#include "transport/reactor.h"

namespace memfabric::transport {

class PacketSocket : public std::enable_shared_from_this<PacketSocket> {
 public:
  PacketSocket(Reactor& reactor, UniqueFd socket) : reactor_(reactor), socket_(std::move(socket)) {}
  ~PacketSocket() { Close(); }

  // Calls `on_ready` when there is something to receive, until Close. `hung_up`: the other end is gone.
  Status Watch(std::function<void(bool hung_up)> on_ready);
  Packet Receive(std::span<std::byte> buffer) { return ReceivePacket(socket_.get(), buffer); }

  // Sends now, or as soon as there is room. What can't be sent because the other end is gone is dropped: who receives hears of
  // the end. `files` stay open until then.
  void Send(std::vector<std::byte> bytes, std::vector<int> files = {});
  // The same from any thread, and nothing once the socket is closed.
  void Post(std::vector<std::byte> bytes);
  std::size_t waiting_packets() const { return outbox_.size(); }

  void Close();

 private:
  struct Outgoing {
    std::vector<std::byte> bytes;
    std::vector<int> files;
  };
  void Flush();

  Reactor& reactor_;
  UniqueFd socket_;
  std::deque<Outgoing> outbox_;
  bool waiting_for_room_ = false;
  Reactor::TimerId retry_ = 0;
};

}  // namespace memfabric::transport
