// transport/tcp/inbound.h: what comes in by a TCP connection. Frames are parsed, requests of the
// peer are carried out, answers go to Outbound, messages wait for the port.
//
// Owned by its connection. One mutex, which guards all of it and is held while bytes are read into
// their place; it comes before Outbound's. Threads: any. All REQUIRES the mutex, but for the
// counters.

#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "memory/bounce.h"
#include "transport/tcp/byte_stream.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/outbound.h"
#include "transport/tcp/served_memory.h"
#include "transport/unix_socket.h"

namespace memfabric::transport::tcp {

class Inbound {
 public:
  // `bounce`, `stream` and `outbound` outlive this object. `bounce`: its begin is this object's, to
  // stage what isn't payload. `wake_port` has the port look for a message, or for the end; it must
  // not wait.
  Inbound(const Tokens& tokens, const BounceBuffer& bounce, ByteStream& stream, Outbound& outbound,
          std::function<void()> wake_port)
      : tokens_(tokens),
        bounce_(bounce),
        stream_(stream),
        outbound_(outbound),
        wake_port_(std::move(wake_port)) {}

  std::mutex& mutex() { return mutex_; }

  // The peer is met: its requests may come, and are served from `memory`.
  void Attach(const ServedMemory& memory) {
    attached_ = true;
    memory_ = &memory;
  }
  enum class Pumped { kDrained, kBudget, kPaused, kEnded };
  // Reads what there is, at most `budget`; kPaused: the port has to take its messages first.
  Pumped Pump(std::size_t budget);
  bool has_messages() const { return !inbox_.empty(); }
  // The next message for the port, or the end. REQUIRES: it fits into `buffer`.
  Packet TakeMessage(std::span<std::byte> buffer);
  // The last frame that was read moves much.
  bool is_bulk() const { return header_.size_bytes >= kBulkBytes; }
  // Nothing more is read, and nothing is said about it.
  void Stop(Status why);
  // The stream is over, or nothing sensible comes from it any more: requests fail.
  void End(const Status& why);
  // No place of a payload is touched any more.
  void DropPayload() { parts_.clear(); }
  // What still comes of the DATA that is being read is thrown away.
  void DropData();

  // Any thread, without the mutex.
  // When bytes came last, steady clock.
  std::int64_t heard_ns() const { return heard_ns_.load(std::memory_order_relaxed); }
  // Bytes of payload, and answers: what shows that requests go on.
  std::uint64_t received() const { return received_.load(std::memory_order_relaxed); }

 private:
  enum class Reading { kHeader, kTable, kBody, kPayload, kJunk };

  bool MayParse() const;
  Status Parse();
  Status StorePayload(std::span<const std::byte> staged);
  Status OnHeader();
  Status OnWhole();  // header, table and body are there
  Status OnPayload();
  Status OnSegmentEnd();
  Status OnContinuation(const Header& header);
  void OnAborted();
  void BeginPayload(bool wanted);
  bool IntoUnknown() const;  // the payload's places
  void FailPayload(std::uint64_t address);
  Status BeginRequest();
  Status BeginData();
  Status PerformRequest();
  Status CheckRequest();
  Status FindParts(std::span<const TargetRange> ranges, Status& not_registered);
  std::size_t GatherParts(std::size_t limit, std::vector<iovec>& into);
  void AdvancePayload(std::size_t bytes);

  const Tokens tokens_;
  const BounceBuffer& bounce_;
  ByteStream& stream_;
  Outbound& outbound_;
  const std::function<void()> wake_port_;
  std::atomic<std::int64_t> heard_ns_{0};
  std::atomic<std::uint64_t> received_{0};

  std::mutex mutex_;  // guards all below
  bool attached_ = false;
  const ServedMemory* memory_ = nullptr;  // from Attach on; outlives this object
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
};

}  // namespace memfabric::transport::tcp
