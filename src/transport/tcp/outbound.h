// transport/tcp/outbound.h: what goes out of a TCP connection, and what this end waits for: its
// requests, its answers to the peer's, and the messages of its port.
//
// Owned by its connection. One mutex, which guards all of it and, because a wait looks at both at
// once, who drives (connection.h). Threads: what REQUIRES the mutex is for the connection, which
// holds it across several calls; the rest takes it, and is for Inbound and for any.

#pragma once

#include <sys/uio.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/wait.h"
#include "memory/bounce.h"
#include "transport/tcp/byte_stream.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/outgoing.h"
#include "transport/tcp/request.h"
#include "transport/tcp/served_memory.h"

namespace memfabric::transport::tcp {

class Outbound {
 public:
  // `bounce` and `stream` outlive this object. `bounce`: its scratch is this object's.
  Outbound(const Tokens& tokens, const BounceBuffer& bounce, ByteStream& stream)
      : tokens_(tokens), bounce_(bounce), stream_(stream) {}

  std::mutex& mutex() const { return mutex_; }

  // From here to the next comment: REQUIRES the mutex.
  // Hands are shaken: the PREFACE goes first.
  void Open();
  // The peer is met; requests go out once the port has sent its next message.
  void Attach(const ServedMemory& memory, Rank rank, const std::string& who);
  void QueueMessage(std::vector<std::byte> message);
  std::size_t waiting_messages() const { return control_.size(); }
  Status Enqueue(QueuedRequest queued);
  enum class Sent { kAll, kBlocked, kMore };
  // Sends what the socket takes; kMore: it would take more, and others get their turn.
  Sent Pump();
  // The socket is full.
  bool blocked() const { return blocked_; }
  // Nothing more is sent.
  void Stop() { stopped_ = true; }
  // Requests in flight and later ones fail with `why`. False: they do already.
  bool SetDown(const Status& why);
  const Status& down() const { return down_; }
  const std::string& peer_name() const { return name_; }
  bool IsDone(std::uint64_t sequence) const;
  bool IsBulkDone() const { return IsDone(bulk_sequence_); }
  // Gives up what this thread started. What the stream has begun with can't be taken back: the
  // segment goes on, with zeros in place of what isn't sent yet, then an ABORT; the peer is asked
  // to do so with its DATA. True: the DATA that comes next, or is being read, is given up.
  bool GiveUp();
  // Waits until the deadline, until this is down, or for `done`.
  Status Wait(std::unique_lock<std::mutex>& lock, Deadline deadline,
              const std::function<bool()>& done);
  void WakeAll() { changed_.notify_all(); }

  // The rest takes the mutex.
  // The stream is over, or what came from it makes no sense: as SetDown.
  bool OnEnd(const Status& why, bool has_left);
  std::uint64_t last_sequence();
  // The first error of what this thread started since it last asked.
  Status TakeError();
  void Ping();
  // bytes of PINGs, as the stream carries them
  std::uint64_t asked_bytes() const { return asked_bytes_.load(std::memory_order_relaxed); }

  // What Inbound has read.
  void OnPreface(const Tokens& tokens);
  void OnPing();
  // A request of the peer's that waits for an answer. InvalidArgument: there are too many.
  Status OnAnswerWanted();
  void Answer(Outgoing frame);
  // The peer's PUT is in its place, or `error` says why it isn't.
  void Acknowledge(std::uint64_t sequence, Status error);
  void OnSignal();
  // What is sent of that DATA stays sent; the rest isn't. A request that isn't answered yet isn't
  // carried out.
  void OnCancel(std::uint64_t sequence);
  Status OnAck(std::uint64_t sequence);
  Status OnDone(const Header& header, std::span<const std::byte> text);
  // DATA begins: where its payload goes, and whether it is wanted.
  Status OnData(const Header& header, std::vector<iovec>& places, bool& wanted);
  // It can't be put there.
  void FailData(const Status& why);
  void OnDataAborted();
  void OnDataPlaced();
  // Tells the owner of the memory, in the log, unless this is down.
  void Warn(const Status& why);

 private:
  // A PUT that isn't acknowledged; committed or not.
  struct Unacknowledged {
    std::uint64_t sequence;
    std::thread::id by;  // none: nobody asks for its error any more
  };

  void WakeWaiters();
  bool Commit();
  bool CommitRest();
  bool MayCommit(const Request& request) const;
  void CommitFrame(Outgoing frame);
  // The first `known` parts of `into` are memory that is there.
  std::size_t Gather(std::vector<iovec>& into, std::vector<RegisteredUse>& uses,
                     std::size_t& known);
  void Consume(std::size_t bytes);
  void CopyLent(Outgoing& frame);
  bool FailUnreadable();
  void Fail(Outgoing& frame, const Status& why);
  bool IsRestOf(const Outgoing& frame) const;

  const Tokens tokens_;
  const BounceBuffer& bounce_;
  ByteStream& stream_;
  std::atomic<std::uint64_t> asked_bytes_{0};

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::size_t waiting_ = 0;  // threads, on changed_
  Tokens peer_tokens_{};
  Rank rank_ = kNoRank;
  std::string name_ = "the peer";
  Status down_;  // not Ok: nothing more is sent or received
  bool open_ = false;
  bool attached_ = false;
  const ServedMemory* memory_ = nullptr;  // from Attach on; outlives this object
  bool requests_open_ = false;            // the peer is told that it has a link
  bool stopped_ = false;
  bool blocked_ = false;
  std::deque<Outgoing> committed_;  // in the order of the stream
  std::optional<Outgoing> rest_;    // of the last frame with a payload: the stream goes on with it
  std::uint64_t committed_bytes_ = 0;
  std::vector<iovec> gathered_;                 // of one Write, kept for its room
  std::deque<std::vector<std::byte>> control_;  // messages of the port
  std::deque<Outgoing> put_errors_;             // before the ACK that covers those PUTs
  std::deque<std::uint64_t> cancels_;
  std::deque<Outgoing> answers_;
  std::deque<QueuedRequest> requests_;
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
