// transport/tcp/connection.h: one TCP connection between two members: the messages of their ports,
// what this end asks of the other's memory, and what it answers for its own. docs/tcp.md has the
// sequence.
//
// Shared by the port and by the link. Threads: what MessageSocket and Attach do is the reactor's;
// the rest is for any.
//
// Whoever waits for an answer reads and writes the socket himself (he drives; one at a time, and
// the reactor doesn't look at it meanwhile); when nobody waits, the reactor does. All reading and
// writing is non-blocking, resumes where the last one stopped, and serves the peer whoever does it:
// so a caller never depends on his own reactor, and two ends that are both full go on.
//
// Two mutexes. receive_mutex_ guards what comes in, and is held while bytes are read into their
// place; send_mutex_ what goes out, and every wait. receive_mutex_ before send_mutex_. A user's
// memory is touched under one of them only, so none is touched once SetDown has returned.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/wait.h"
#include "memory/bounce.h"
#include "memory/registered_memory.h"
#include "memory/segment.h"
#include "transport/meeting/peer_venue.h"
#include "transport/reactor.h"
#include "transport/tcp/byte_stream.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/vigil.h"

namespace memfabric::transport::tcp {

// A member's own memory, as its connections serve it. Shared by the port and its connections.
struct ServedMemory {
  std::shared_ptr<Window> window;  // keeps the slots; shared with the pool
  std::array<std::byte*, kZones> slots{};
  std::array<const Segment*, kZones> segments{};  // null: nothing there
  RegisteredMemory* registered = nullptr;
  std::function<void(Zone)> on_served;
  Tokens tokens{};
  // a file of the user's, who may truncate it
  std::array<bool, kZones> lent{};
  std::shared_ptr<BounceArena> bounce;  // shared with the connections' buffers
  // of memory that can't be touched, steady clock
  mutable std::atomic<std::int64_t> next_warning_ns{0};

  void Served(std::size_t zone) const {
    if (on_served) on_served(kAllZones[zone]);
  }
  std::uint64_t allocated_bytes(std::size_t zone) const {
    return segments[zone] == nullptr ? 0 : segments[zone]->allocated_bytes();
  }
};

class TcpConnection final : public MessageSocket,
                            public std::enable_shared_from_this<TcpConnection> {
 public:
  // `who` is at the other end, for messages; `spin`: how long after activity an end polls before it
  // sleeps. `bounce` is what `stream` was made with.
  TcpConnection(Reactor& reactor, std::shared_ptr<const ServedMemory> memory,
                std::unique_ptr<BounceBuffer> bounce, std::unique_ptr<ByteStream> stream,
                std::string who, std::chrono::microseconds spin);
  ~TcpConnection() override;

  Status Watch(std::function<void(bool hung_up)> on_ready) override;
  Packet Receive(std::span<std::byte> buffer) override;
  void Send(std::vector<std::byte> bytes, std::vector<int> files = {},
            std::shared_ptr<const void> owner = nullptr) override;
  void Post(std::vector<std::byte> bytes) override;
  std::size_t waiting_packets() const override;
  void Close() override;

  // The peer is met: requests of both ends may come, ours once the next message of the port is
  // sent.
  void Attach(Rank rank);
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

 private:
  // A range of addresses or offsets that encloses all of a list.
  struct Bounds {
    std::uint64_t begin = ~std::uint64_t{0};
    std::uint64_t end = 0;
    void Add(std::uint64_t from, std::uint64_t size_bytes);
    bool Meets(const Bounds& other) const { return begin < other.end && other.begin < end; }
  };
  // A frame on its way out.
  struct Outgoing {
    HeaderBytes header{};
    std::vector<std::byte> body;  // table, message, text
    std::vector<iovec> payload;
    bool answer = false;            // to a request of the peer's that waits for it
    bool is_data = false;           // DATA, or a later segment of it
    bool is_rest = false;           // a segment that isn't the first
    bool unknown = false;           // payload is a user's memory, which may not be there
    bool registered_bytes = false;  // payload is memory that may be deregistered meanwhile
    bool lent = false;              // payload is in a user's file: what goes out is `copy`
    bool done_follows = false;
    bool given_up = false;  // of what isn't committed yet: ABORT is sent instead
    std::vector<std::byte> copy;
    Status error;  // of DATA: what DONE will say
    std::uint64_t sequence = 0;
    std::thread::id by;    // whose memory payload is, of requests
    std::size_t part = 0;  // where sending goes on: 0 header, 1 body, then payload
    std::size_t part_done = 0;
  };
  // How an ATOMIC went. Shared with its caller, who may give up.
  struct Cell {
    std::uint64_t value = 0;
    Status status;
    bool is_known = false;
  };
  // A request of ours that isn't sent yet, or waits for its own answer.
  struct Request {
    Op op = Op::kPut;
    std::uint8_t zone = 0;
    std::uint64_t sequence = 0;
    Bounds remote;
    Bounds local;
    std::vector<iovec> destination;  // of GETs
    std::uint64_t size_bytes = 0;
    std::thread::id by;
    std::shared_ptr<Cell> cell;
    bool has_data = false;
    bool aborted = false;   // its DATA ended early
    bool given_up = false;  // what comes for it is dropped
  };
  struct Queued {
    Request request;
    Outgoing frame;
  };
  // A PUT that isn't acknowledged; committed or not.
  struct Unacknowledged {
    std::uint64_t sequence;
    std::thread::id by;  // none: nobody asks for its error any more
  };
  enum class Reading { kHeader, kTable, kBody, kPayload, kJunk };
  enum class Pumped { kDrained, kBudget, kPaused, kEnded };

  // connection.cc: life, waiting.
  void OnEvents(std::uint32_t events);
  void AdvanceHandshake();
  void WakePort();
  void UpdateWatch();  // send_mutex_ held
  bool IsDone(std::uint64_t sequence) const;
  Status Await(Bound bound, const std::function<bool()>& done,
               const std::function<Status()>& begin = {});
  // `look_first`: what is waited for may be there.
  Status Drive(Bound bound, const std::function<bool()>& done, bool look_first);
  void GiveUp();
  std::int64_t Progress() const;
  void End(const Status& why);            // receive_mutex_ held
  void SetDownLocked(const Status& why);  // both held
  void WakeWaiters();                     // send_mutex_ held
  void WarnOfMemory(const Status& why) const;
  Vigil::Signs SignsOfLife() const;
  bool IsSilent(TimePoint now, std::optional<Vigil>& vigil);

  // connection_receive.cc; receive_mutex_ held by all.
  Pumped PumpIn(std::size_t budget);
  bool MayParse() const;
  Status Parse();
  Status OnHeader();
  Status OnWhole();  // header, table and body are there
  Status OnPayload();
  Status OnSegmentEnd();
  Status OnContinuation(const Header& header);
  void OnAborted();
  void BeginPayload(bool wanted);
  bool IntoUnknown() const;  // the payload's places
  void FailPayload(std::uint64_t address);
  void OnCancel();
  Status BeginRequest();
  Status BeginData();
  Status PerformRequest();
  Status OnDone();
  Status OnAck();
  Status CheckRequest();
  Status FindParts(std::span<const TargetRange> ranges, Status& not_registered);
  std::size_t GatherParts(std::size_t limit, std::vector<iovec>& into);
  bool AcquireParts(std::span<const iovec> parts, std::vector<RegisteredUse>& uses,
                    Status& error) const;
  void Answer(Outgoing frame);
  void AdvancePayload(std::size_t bytes);

  // connection_send.cc; send_mutex_ held by all.
  enum class Sent { kAll, kBlocked, kMore };
  Sent PumpOut();
  void SendUntilBlocked(std::unique_lock<std::mutex>& lock);
  bool Commit();
  bool MayCommit(const Request& request) const;
  void CommitFrame(Outgoing frame);
  // The first `known` parts of `into` are memory that is there.
  std::size_t GatherFrames(std::vector<iovec>& into, std::vector<RegisteredUse>& uses,
                           std::size_t& known);
  void Consume(std::size_t bytes);
  static std::optional<Outgoing> SplitRest(Outgoing& frame);
  bool CommitRest();
  void CopyLent(Outgoing& frame);
  bool FailUnreadable();
  void Fail(Outgoing& frame, const Status& why);
  bool IsRestOf(const Outgoing& frame) const;
  static void SendZeros(Outgoing& frame);
  static Outgoing Frame(const Header& header);
  static Outgoing DoneFrame(std::uint64_t sequence, const Status& status, std::uint64_t value);
  Status Enqueue(Header header, Queued queued);

  Reactor& reactor_;
  const std::shared_ptr<const ServedMemory> memory_;
  const std::unique_ptr<BounceBuffer> bounce_;  // staging, scratch, and what the stream uses
  const std::unique_ptr<ByteStream> stream_;
  const std::string who_;
  const std::chrono::microseconds spin_;
  // The reactor's thread only, as the next. shared: a callback that closes this runs on.
  std::shared_ptr<std::function<void(bool)>> on_ready_;
  bool handshake_pending_ = true;
  std::atomic<std::int64_t> heard_ns_{0};      // when bytes came last, steady clock
  std::atomic<std::uint64_t> asked_bytes_{0};  // of PINGs, as the stream carries them
  // bytes of payload and answers: what shows that requests go on
  std::atomic<std::uint64_t> received_{0};

  std::mutex receive_mutex_;  // guards from here to send_mutex_
  bool attached_ = false;     // guarded by both
  bool has_preface_ = false;
  bool ended_ = false;
  Status end_why_;
  std::deque<std::vector<std::byte>> inbox_;  // messages for the port
  std::size_t staged_begin_ = 0;              // in the begin of bounce_
  std::size_t staged_end_ = 0;
  Reading reading_ = Reading::kHeader;
  Header header_;
  std::vector<std::byte> body_;  // table, or payload of a frame that isn't memory's
  std::size_t body_wanted_ = 0;
  std::vector<iovec> parts_;  // where the payload goes; the first not yet full one is part_
  std::size_t part_ = 0;
  std::uint64_t payload_left_ = 0;
  std::uint64_t segment_left_ = 0;   // of it, before the next MORE
  Reading resume_ = Reading::kJunk;  // with that
  Status put_error_;                 // of the PUT or PUT_REGISTERED that is read
  std::uint64_t seen_sequence_ = 0;  // of the peer's requests
  std::vector<iovec> gathered_;      // of one Read, kept for its room

  mutable std::mutex send_mutex_;  // guards all below
  std::condition_variable changed_;
  Tokens peer_tokens_{};
  Rank rank_ = kNoRank;
  std::string name_ = "the peer";
  Status down_;  // not Ok: nothing more is sent or received
  bool closed_ = false;
  bool open_ = false;           // hands are shaken
  bool requests_open_ = false;  // the peer is told that it has a link
  bool send_broken_ = false;
  // by a caller; the reactor looks without the lock, to keep out of his way
  std::atomic<bool> driven_{false};
  bool driver_sends_ = false;  // and waits for room, too
  bool blocked_ = false;       // the socket is full
  std::uint32_t watched_ = 0;
  std::size_t waiting_ = 0;         // threads, on changed_
  std::deque<Outgoing> committed_;  // in the order of the stream
  std::optional<Outgoing> rest_;    // of the last frame with a payload: the stream goes on with it
  std::uint64_t committed_bytes_ = 0;
  std::vector<iovec> gathered_frames_;  // of one Write, kept for its room
  std::deque<std::vector<std::byte>> control_;
  std::deque<Outgoing> put_errors_;  // before the ACK that covers those PUTs
  std::deque<std::uint64_t> cancels_;
  std::deque<Outgoing> answers_;
  std::deque<Queued> requests_;
  std::deque<Request> unanswered_;  // committed, oldest first
  std::deque<Unacknowledged> unacknowledged_;
  std::map<std::thread::id, Status> errors_;  // of requests, until their thread flushes
  std::size_t peers_unanswered_ = 0;
  std::uint64_t next_sequence_ = 1;
  std::uint64_t bulk_sequence_ = 0;  // of the last request that moves much
  std::uint64_t committed_put_ = 0;
  std::uint64_t acknowledge_ = 0;  // PUTs of the peer's, not told yet; 0: none
  bool ping_ = false;
  bool pong_ = false;
  bool answers_turn_ = true;
};

}  // namespace memfabric::transport::tcp
