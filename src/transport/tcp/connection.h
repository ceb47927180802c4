// transport/tcp/connection.h: one TCP connection between two members: the messages of their ports,
// what this end asks of the other's memory, and what it answers for its own. docs/tcp.md has the
// sequence.
//
// Shared by the port and by the link. Threads: what MessageSocket and Attach do is the reactor's;
// the rest is for any.
//
// What comes in is Inbound's, what goes out is Outbound's, each under a mutex of its own; Inbound's
// comes first. A user's memory is touched under one of them only, so none is touched once SetDown,
// which takes both, has returned. This class is left with the handshake, the end, and who drives.
//
// Whoever waits for an answer reads and writes the socket (it drives; one thread at a time, and the
// reactor doesn't look at the socket meanwhile); when nobody waits, the reactor does. All reading
// and writing is non-blocking, resumes where the last one stopped, and serves the peer whoever does
// it: so a caller never depends on its own reactor, and two ends that are both full go on.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/wait.h"
#include "memory/bounce.h"
#include "transport/meeting/peer_venue.h"
#include "transport/reactor.h"
#include "transport/tcp/byte_stream.h"
#include "transport/tcp/inbound.h"
#include "transport/tcp/outbound.h"
#include "transport/tcp/served_memory.h"
#include "transport/tcp/vigil.h"

namespace memfabric::transport::tcp {

class TcpConnection final : public MessageSocket,
                            public std::enable_shared_from_this<TcpConnection> {
 public:
  // `tokens` are random; `who` is at the other end, for messages; `spin`: how long after activity
  // an end polls before it sleeps. `bounce` is what `stream` was made with.
  TcpConnection(Reactor& reactor, const Tokens& tokens, std::unique_ptr<BounceBuffer> bounce,
                std::unique_ptr<ByteStream> stream, std::string who,
                std::chrono::microseconds spin);
  ~TcpConnection() override;

  Status Watch(std::function<void(bool hung_up)> on_ready) override;
  Packet Receive(std::span<std::byte> buffer) override;
  void Send(std::vector<std::byte> bytes, std::vector<int> files = {},
            std::shared_ptr<const void> owner = nullptr) override;
  void Post(std::vector<std::byte> bytes) override;
  std::size_t waiting_packets() const override;
  void Close() override;

  // The peer is met: requests of both ends may come, ours once the next message of the port is
  // sent. The peer's are served from `memory`.
  void Attach(Rank rank, std::shared_ptr<const ServedMemory> memory);
  // Requests in flight and later ones fail with `why`, unless they do already.
  void SetDown(const Status& why);

  // Starts to move. REQUIRES: `pieces` are checked, at most kMaxPieces.
  Status Start(Op op, Zone zone, std::span<const Piece> pieces);
  Result<std::uint64_t> Atomic(Zone zone, const AtomicRequest& request, Deadline deadline);
  Status Signal(Zone zone, std::uint64_t slot_offset, std::span<const std::byte> bytes);
  // `begin` is called when the reactor doesn't look at the socket any more: the peer's signal would
  // wake it.
  Status AwaitSignal(Deadline deadline, const std::function<Status()>& begin,
                     const std::function<bool()>& done) {
    return Await(deadline, done, begin);
  }
  // Waits for all that was started; the first error of what this thread started since its last
  // Flush. DeadlineExceeded and Interrupted give up what this thread started: none of its memory is
  // touched any more.
  Status Flush(Bound bound);

  bool encrypted() const { return stream_->encrypted(); }
  // Whose key the handshake took; REQUIRES: it is over.
  std::string_view whose() const { return stream_->whose(); }

 private:
  void OnEvents(std::uint32_t events);
  void AdvanceHandshake();
  void WakePort();
  void UpdateWatch();  // Outbound's mutex is held
  void SendUntilBlocked(std::unique_lock<std::mutex>& lock);
  Status Enqueue(QueuedRequest queued);
  // `done` is asked with Outbound's mutex held.
  Status Await(Bound bound, const std::function<bool()>& done,
               const std::function<Status()>& begin = {});
  // `look_first`: what is waited for may be there.
  Status Drive(Bound bound, const std::function<bool()>& done, bool look_first);
  void GiveUp();
  std::int64_t Progress() const;
  Vigil::Signs SignsOfLife() const;
  bool IsSilent(TimePoint now, std::optional<Vigil>& vigil);

  Reactor& reactor_;
  const std::unique_ptr<BounceBuffer> bounce_;  // staging, scratch, and what the stream uses
  const std::unique_ptr<ByteStream> stream_;
  const std::string who_;
  const std::chrono::microseconds spin_;
  // The reactor's thread only, as the next. shared: a callback that closes this runs on.
  std::shared_ptr<std::function<void(bool)>> on_ready_;
  bool handshake_pending_ = true;

  // from Attach on, by both mutexes; Inbound and Outbound borrow it
  std::shared_ptr<const ServedMemory> memory_;
  Outbound outbound_;
  Inbound inbound_;

  // All below is guarded by Outbound's mutex.
  bool open_ = false;  // hands are shaken
  bool closed_ = false;
  // by a caller; the reactor looks without the lock, to keep out of its way
  std::atomic<bool> driven_{false};
  bool driver_sends_ = false;  // and waits for room, too
  std::uint32_t watched_ = 0;
};

}  // namespace memfabric::transport::tcp
