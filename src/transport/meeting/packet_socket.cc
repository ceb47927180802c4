#include "transport/meeting/packet_socket.h"

#include <sys/epoll.h>

#include "base/log.h"

namespace memfabric::transport {
namespace {

constexpr std::chrono::milliseconds kRetryPeriod{5};

}  // namespace

Status PacketSocket::Watch(std::function<void(bool hung_up)> on_ready) {
  if (on_ready_ == nullptr) {
    RETURN_IF_ERROR(
        reactor_.Add(socket_.get(), EPOLLIN, [self = weak_from_this()](std::uint32_t events) {
          auto socket = self.lock();
          if (socket == nullptr) return;
          if ((events & EPOLLOUT) != 0) socket->Flush();
          auto ready = socket->on_ready_;
          if ((events & ~EPOLLOUT) != 0 && ready != nullptr) (*ready)((events & EPOLLHUP) != 0);
        }));
  }
  on_ready_ = std::make_shared<std::function<void(bool)>>(std::move(on_ready));
  return Ok();
}

void PacketSocket::Send(std::vector<std::byte> bytes, std::vector<int> files,
                        std::shared_ptr<const void> owner) {
  if (!socket_) return;
  outbox_.push_back({std::move(bytes), std::move(files), std::move(owner)});
  if (outbox_.size() == 1) Flush();
}

void PacketSocket::Post(std::vector<std::byte> bytes) {
  reactor_.Post([self = weak_from_this(), bytes = std::move(bytes)]() mutable {
    if (auto socket = self.lock(); socket != nullptr) socket->Send(std::move(bytes));
  });
}

void PacketSocket::Flush() {
  while (!outbox_.empty()) {
    const Outgoing& next = outbox_.front();
    Status sent = SendPacket(socket_.get(), next.bytes, next.files);
    if (IsInUse(sent)) {
      // Room for files in flight is the user's as a whole, and epoll doesn't tell when there is
      // some.
      if (next.files.empty()) {
        if (!waiting_for_room_) reactor_.Modify(socket_.get(), EPOLLIN | EPOLLOUT);
        waiting_for_room_ = true;
      } else if (retry_ == 0) {
        retry_ = reactor_.CallAt(std::chrono::steady_clock::now() + kRetryPeriod, [this] {
          retry_ = 0;
          Flush();
        });
      }
      return;
    }
    if (!sent.ok() && !IsDisconnected(sent))
      LOG(kWarn, "a message to a peer was lost: {}", sent.message());
    outbox_.pop_front();
  }
  if (waiting_for_room_) reactor_.Modify(socket_.get(), EPOLLIN);
  waiting_for_room_ = false;
}

pid_t PacketSocket::peer_pid() const {
  auto peer = PeerOf(socket_.get());
  return peer.ok() ? peer->pid : 0;
}

void PacketSocket::Close() {
  if (!socket_) return;
  reactor_.Cancel(std::exchange(retry_, 0));
  reactor_.Remove(socket_.get());
  on_ready_ = nullptr;
  socket_.Reset();
  outbox_.clear();
}

}  // namespace memfabric::transport
