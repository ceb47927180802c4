// transport/meeting/peer_port.h: a member's presence at a venue (peer_venue.h): one connection a
// peer, and the handshakes that are under way. docs/ has the sequence; peer_protocol.h the
// messages. What a connection is used for is its backend's.
//
// Owned by the pool. Threads: the Port's functions from any thread; they hand their work to the
// reactor and wait. All state is the reactor thread's alone, so there is no lock, and observers are
// never called two at a time.
//
// One connection a pair. When two members connect to each other at once, the lower rank's
// connection wins: it answers the other's HELLO with DUPLICATE, the other takes its HELLO and lets
// its own go.
//
// Files of peers live as long as the message that brought them; growth brings them again. So a
// linked peer costs one fd.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/backoff.h"
#include "transport/meeting/peer_backend.h"
#include "transport/meeting/peer_listener.h"
#include "transport/meeting/peer_protocol.h"
#include "transport/meeting/pending_calls.h"
#include "transport/reactor.h"
#include "transport/transport.h"

namespace memfabric::transport {

class PeerPort final : public Port {
 public:
  // At the venue that `choose` returns. `listeners` outlives the port.
  static Result<std::unique_ptr<Port>> Open(PeerListeners& listeners,
                                            const PeerListeners::Choose& choose,
                                            const PortOptions& options,
                                            std::unique_ptr<PeerBackend> backend);
  // At this host's, of which a transport needs one.
  static Result<std::unique_ptr<Port>> Open(PeerListeners& listeners, const PortOptions& options,
                                            std::unique_ptr<PeerBackend> backend);
  // InvalidArgument: options that no port can be opened with.
  static Status Check(const PortOptions& options);
  // Whether a process on `host` may find `peer` by such a port; Unsupported says why not.
  static Status CanReach(const MemberAddress& peer, const std::string& host);
  ~PeerPort() override;

  std::string advert() const override { return advert_; }
  std::vector<Status> ConnectAll(std::span<const MemberAddress> peers, Deadline deadline) override;
  Status Announce(Deadline deadline) override;

  PeerPort(PeerListeners& listeners, PeerListener& listener, const PortOptions& options,
           std::unique_ptr<PeerBackend> backend);

 private:
  // A caller that waits for a link to `address`.
  struct Waiter {
    std::shared_ptr<PendingCalls> calls;  // shared: the caller may give up first
    std::size_t index;
    MemberAddress address;
  };
  // A caller that waits until a peer has mapped our growth.
  struct GrowthWaiter {
    std::shared_ptr<PendingCalls> calls;
    std::size_t index;
    ZoneBytes bytes;
    Status if_gone;
  };
  struct Connection {
    enum class Phase {
      kCalling,     // accepted, its HELLO is being looked at
      kIntroduced,  // ours, HELLO sent, no answer yet
      kLinked,      // the observer has the link
      kClosed,
    };
    Phase phase = Phase::kCalling;
    std::shared_ptr<MessageSocket> socket;  // shared with a link that sends
    std::string who;                        // is at the other end: "pid 4711"
    Rank rank = kNoRank;
    std::uint64_t epoch = 0;
    bool confirmed = false;          // the peer's observer has its link too
    std::shared_ptr<PeerLink> link;  // shared with the pool
    ZoneBytes introduced{};          // of ours, what our HELLO or WELCOME said
    ZoneBytes announced{};           // what we told the peer last
    ZoneBytes mapped{};              // what the peer has answered to
    std::vector<Waiter> waiters;     // for `confirmed`
    std::vector<GrowthWaiter> growth_waiters;
  };
  // shared: the reactor's callback and the tables below; a connection may close while one of its
  // messages is worked on
  using ConnectionPtr = std::shared_ptr<Connection>;
  // Our side of getting a link to a rank: tries until it stands, is refused, or nobody waits any
  // more.
  struct Attempt {
    MemberAddress address;
    std::vector<Waiter> waiters;
    ConnectionPtr connection;  // null between two tries
    Reactor::TimerId retry = 0;
    Backoff backoff{std::chrono::milliseconds(1), std::chrono::milliseconds(20)};
    // the peer has no descriptor left
    Backoff room_backoff{std::chrono::milliseconds(20), std::chrono::milliseconds(500)};
    // in the HELLO
    meeting::Contribution told;
  };

  meeting::Addressee Self() const { return {options_.pool, options_.rank, options_.epoch}; }

  // Everything below runs on the reactor's thread. peer_port.cc: attempts, closing.
  void Close();
  void StartConnect(const Waiter& waiter);
  void TryConnect(Rank rank);
  void RetryConnect(Rank rank, std::string_view note) {
    RetryConnect(rank, note, attempts_.at(rank).backoff);
  }
  void RetryConnect(Rank rank, std::string_view note, Backoff& backoff);
  void FinishAttempt(Rank rank, const Status& status);
  std::vector<Waiter> TakeAttempt(Rank rank);  // ends it; the waiters are the caller's now
  void Abandon(const PendingCalls& calls);
  void StartAnnounce(const std::shared_ptr<PendingCalls>& calls);
  Status AddConnection(const ConnectionPtr& connection);
  void CloseConnection(const ConnectionPtr& connection, const Status& why,
                       const meeting::Message* last_words = nullptr);
  static bool Covers(const ZoneBytes& have, const ZoneBytes& want);
  void Send(const ConnectionPtr& connection, const meeting::Message& message,
            const PeerOffer& offer);
  meeting::Introduction Introduce(Rank to, std::uint64_t to_epoch,
                                  const meeting::Contribution& contribution) const;
  ConnectionPtr LinkedConnection(Rank rank);

  // peer_port_messages.cc: what peers send.
  void Receive(const ConnectionPtr& connection);
  void OnEnded(const ConnectionPtr& connection, const Status& why);
  void OnMessage(const ConnectionPtr& connection, const meeting::Message& message, Packet& packet);
  void OnCaller(std::shared_ptr<MessageSocket> socket, std::string who, const meeting::Hello& hello,
                Packet& packet);
  void OnHello(const ConnectionPtr& connection, const meeting::Hello& hello, Packet& packet);
  void OnWelcome(const ConnectionPtr& connection, const meeting::Welcome& welcome, Packet& packet);
  void OnRefused(const ConnectionPtr& connection, const meeting::Refused& refused);
  void OnReady(const ConnectionPtr& connection);
  void OnGrow(const ConnectionPtr& connection, const meeting::Grow& grow, Packet& packet);
  void OnGrown(const ConnectionPtr& connection, const ZoneBytes& bytes);
  Status CheckIntroduction(const meeting::Introduction& introduction) const;
  Status MakeLink(const ConnectionPtr& connection, const meeting::Introduction& introduction,
                  Packet& packet);
  Result<PeerContribution> TakeContribution(Rank rank, std::uint64_t epoch, const ZoneBytes& former,
                                            const meeting::Contribution& contribution,
                                            Packet& packet) const;
  void Refuse(const ConnectionPtr& connection, Kind kind, const std::string& reason);
  void Misbehaved(const ConnectionPtr& connection, const std::string& how);
  void SendGrowth(const ConnectionPtr& connection, const PeerOffer& offer);

  Reactor& reactor_;
  PeerListeners& listeners_;
  PeerListener& listener_;  // released when this port ends
  PeerVenue& venue_;        // the listener's
  const PortOptions options_;
  const std::unique_ptr<PeerBackend> backend_;
  std::string advert_;  // set before anybody else has the port

  bool closing_ = false;
  std::unordered_set<ConnectionPtr> connections_;  // all
  std::map<Rank, ConnectionPtr> links_;
  std::map<Rank, Attempt> attempts_;
  std::map<Rank, std::uint64_t> epochs_;  // the latest life of each rank that was linked
};

}  // namespace memfabric::transport
