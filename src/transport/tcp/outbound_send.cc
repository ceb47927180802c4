// What goes out: which frame is next, and as much of it as the socket takes. The mutex is held by
// all of it.

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "transport/tcp/outbound.h"

namespace memfabric::transport::tcp {
namespace {

constexpr std::size_t kSendParts = 64;
// of one system call: 1 MiB, its header and table
constexpr std::size_t kSendBytes = (1 << 20) + (64 << 10);
constexpr std::size_t kSendBudget = 4 << 20;   // then others get their turn
constexpr std::size_t kCommitBytes = 1 << 18;  // gathered before a system call
constexpr std::size_t kCommitFrames = 24;
// Of the bounce buffer, to copy what may not be there.
constexpr std::size_t kScratchOffset = 16 << 10;
constexpr std::size_t kScratchBytes = 16 << 10;
static_assert(kScratchOffset + kScratchBytes + ByteStream::kBounceBytes <= BounceBuffer::kBytes);

}  // namespace

// What the peer may do to a range that a GET before has not brought yet must wait until it has.
bool Outbound::MayCommit(const Request& request) const {
  if (!requests_open_) return false;
  if (IsAnswered(request.op) && unanswered_.size() >= kMaxUnanswered) return false;
  if (request.is_get()) return true;
  return std::none_of(unanswered_.begin(), unanswered_.end(), [&](const Request& earlier) {
    if (!earlier.is_get()) return false;
    const bool same_memory =
        IsRegistered(earlier.op) == IsRegistered(request.op) && earlier.zone == request.zone;
    return (same_memory && earlier.target.Meets(request.target)) ||
           earlier.local.Meets(request.local);
  });
}

// Of user's files: read before it is sent, as the header promises it.
void Outbound::CopyLent(Outgoing& frame) {
  for (const iovec& part : frame.payload) {
    const auto* from = static_cast<const std::byte*>(part.iov_base);
    for (std::size_t done = 0; done < part.iov_len;) {
      const std::size_t size = std::min(part.iov_len - done, kScratchBytes);
      if (bounce_.Load(kScratchOffset, from + done, size) < size) {
        const Status why = InvalidArgument(
            "what was asked for can't be read: the user's file that it lies in has shrunk");
        memory_->Warn(name_, why);
        rest_.reset();
        Outgoing end = Outgoing::Done(frame.sequence, why);
        if (frame.is_rest) {
          end = Outgoing::Frame({.op = Op::kAbort, .sequence = frame.sequence});
          end.done_follows = true;
          end.error = why;
        }
        frame = std::move(end);
        return;
      }
      frame.copy.insert(frame.copy.end(), bounce_.data() + kScratchOffset,
                        bounce_.data() + kScratchOffset + size);
      done += size;
    }
  }
  frame.payload = {{frame.copy.data(), frame.copy.size()}};
}

// The segment that the stream has to go on with, or that it ends early; false: there is none.
bool Outbound::CommitRest() {
  if (!rest_.has_value()) return false;
  Outgoing frame = *std::exchange(rest_, std::nullopt);
  if (frame.given_up || !frame.error.ok()) {
    frame.payload.clear();
    frame.lent = frame.answer = false;
    frame.done_follows = frame.is_data;
    frame.header = EncodeHeader({.op = Op::kAbort, .sequence = frame.sequence});
  } else {
    Header header{.op = Op::kMore, .sequence = frame.sequence};
    header.size_bytes = std::min(frame.payload_bytes(), kSegmentBytes);
    frame.header = EncodeHeader(header);
  }
  CommitFrame(std::move(frame));
  return true;
}

bool Outbound::IsRestOf(const Outgoing& frame) const {
  return rest_.has_value() && rest_->sequence == frame.sequence && rest_->by == frame.by;
}

// Its payload can't be had. What has begun goes on with zeros; what hasn't is taken back.
void Outbound::Fail(Outgoing& frame, const Status& why) {
  const bool own = frame.by != std::thread::id{};
  const bool begun = frame.has_begun() || stream_.HoldsBytes();
  if (own) {
    errors_.try_emplace(frame.by, why);
  } else {
    frame.error = why;
  }
  if (!begun) {
    if (IsRestOf(frame)) rest_.reset();
    committed_bytes_ -= frame.size_bytes();
    const std::uint64_t sequence = frame.sequence;
    if (own) {
      std::erase_if(committed_, [&](const Outgoing& one) { return &one == &frame; });
      std::erase_if(unacknowledged_, [&](const auto& put) { return put.sequence == sequence; });
      std::erase_if(unanswered_, [&](const auto& request) { return request.sequence == sequence; });
      WakeWaiters();
    } else {
      frame = Outgoing::Done(sequence, why);
      committed_bytes_ += frame.size_bytes();
    }
    return;
  }
  for (Outgoing& one : committed_) {
    if (one.sequence != frame.sequence || one.by != frame.by || !one.unknown) continue;
    if (!own) one.error = why;
    one.SendZeros();
  }
  if (!IsRestOf(frame)) return;
  rest_->given_up = true;
  rest_->payload.clear();
  if (!own) rest_->error = why;
}

// The socket met memory that can't be read: whose is it? False: nobody's but ours, so the machine
// has none left.
bool Outbound::FailUnreadable() {
  auto address_of = [](const iovec& part) {
    return reinterpret_cast<std::uint64_t>(part.iov_base);
  };
  auto fail = [&](Outgoing& frame, const iovec& part) {
    if (frame.by != std::thread::id{}) {
      return Fail(frame, InvalidArgument("local address {:#x} + {} bytes can't be read in this "
                                         "process: the memory was freed, is "
                                         "protected, or was never there",
                                         address_of(part), part.iov_len));
    }
    const Status why = InvalidArgument(
        "address {:#x} + {} bytes is registered there, but can't be read: its user has freed or "
        "protected it without "
        "unregistering it, or its file has shrunk",
        address_of(part), part.iov_len);
    memory_->Warn(name_, why);
    Fail(frame, why);
  };
  for (Outgoing& frame : committed_) {
    if (!frame.unknown) continue;
    const std::vector<iovec> unsent = frame.UnsentPayload();
    const std::size_t bad = FirstUnreadable(bounce_, kScratchOffset, unsent);
    if (bad == unsent.size()) continue;
    fail(frame, unsent[bad]);
    return true;
  }
  // It is there again; but it has been away.
  auto found = std::find_if(committed_.begin(), committed_.end(),
                            [](const Outgoing& frame) { return frame.unknown; });
  if (found == committed_.end()) return false;
  fail(*found, found->payload.front());
  return true;
}

void Outbound::CommitFrame(Outgoing frame) {
  if (auto rest = frame.SplitRest(); rest.has_value()) rest_ = std::move(rest);
  if (frame.lent) CopyLent(frame);
  committed_bytes_ += frame.size_bytes();
  committed_.push_back(std::move(frame));
}

// Puts the next frame behind those that are committed; false: there is none for now.
bool Outbound::Commit() {
  if (committed_bytes_ >= kCommitBytes || committed_.size() >= kCommitFrames) return false;
  if (!committed_.empty() && committed_.back().done_follows) return false;
  if (CommitRest()) return true;
  if (!control_.empty()) {
    Outgoing frame = Outgoing::Frame({.op = Op::kControl, .size_bytes = control_.front().size()});
    frame.body = std::move(control_.front());
    control_.pop_front();
    CommitFrame(std::move(frame));
    return true;
  }
  if (!put_errors_.empty()) {
    CommitFrame(std::move(put_errors_.front()));
    put_errors_.pop_front();
    return true;
  }
  if (!cancels_.empty()) {
    CommitFrame(Outgoing::Frame({.op = Op::kCancel, .sequence = cancels_.front()}));
    cancels_.pop_front();
    return true;
  }
  if (acknowledge_ != 0) {
    CommitFrame(Outgoing::Frame({.op = Op::kAck, .sequence = std::exchange(acknowledge_, 0)}));
    return true;
  }
  if (std::exchange(pong_, false)) {
    CommitFrame(Outgoing::Frame({.op = Op::kPong}));
    return true;
  }
  if (std::exchange(ping_, false)) {
    asked_bytes_.fetch_add(kHeaderBytes + stream_.overhead_bytes(), std::memory_order_relaxed);
    CommitFrame(Outgoing::Frame({.op = Op::kPing}));
    return true;
  }
  const bool may_ask = !requests_.empty() && MayCommit(requests_.front().request);
  if (!answers_.empty() && (answers_turn_ || !may_ask)) {
    answers_turn_ = false;
    CommitFrame(std::move(answers_.front()));
    answers_.pop_front();
    return true;
  }
  answers_turn_ = true;
  if (!may_ask) return false;
  QueuedRequest next = std::move(requests_.front());
  requests_.pop_front();
  CommitFrame(std::move(next.frame));
  if (next.request.op == Op::kPut) committed_put_ = next.request.sequence;
  if (IsAnswered(next.request.op)) unanswered_.push_back(std::move(next.request));
  return true;
}

// The begin of what is committed, as far as one system call takes it.
std::size_t Outbound::Gather(std::vector<iovec>& into, std::vector<RegisteredUse>& uses,
                             std::size_t& known) {
  into.clear();
  uses.clear();
  known = kSendParts;
  std::size_t bytes = 0;
  for (Outgoing& frame : committed_) {
    for (std::size_t part = frame.part; part < frame.parts(); ++part) {
      iovec next = frame.PartAt(part);
      const std::size_t done = part == frame.part ? frame.part_done : 0;
      next = {static_cast<std::byte*>(next.iov_base) + done,
              std::min(next.iov_len - done, kSendBytes - bytes)};
      Status registered;
      if (part >= 2 && frame.registered_bytes && !memory_->Acquire({&next, 1}, uses, registered)) {
        Fail(frame, registered);
        return Gather(into, uses, known);
      }
      if (part >= 2 && frame.unknown) known = std::min(known, into.size());
      if (next.iov_len > 0) into.push_back(next);
      bytes += next.iov_len;
      if (bytes == kSendBytes || into.size() == kSendParts) return bytes;
    }
  }
  return bytes;
}

void Outbound::Consume(std::size_t bytes) {
  committed_bytes_ -= bytes;
  while (!committed_.empty()) {
    Outgoing& frame = committed_.front();
    for (; frame.part < frame.parts(); ++frame.part, frame.part_done = 0) {
      const std::size_t size = frame.PartAt(frame.part).iov_len;
      const std::size_t taken = std::min(bytes, size - frame.part_done);
      frame.part_done += taken;
      bytes -= taken;
      if (frame.part_done < size) return;
    }
    if (frame.answer) --peers_unanswered_;
    if (frame.done_follows) {
      Outgoing done = Outgoing::Done(frame.sequence, frame.error);
      committed_.pop_front();
      CHECK(committed_.empty());
      CommitFrame(std::move(done));
      return;
    }
    committed_.pop_front();
  }
}

Outbound::Sent Outbound::Pump() {
  if (!open_ || stopped_) return Sent::kAll;
  std::size_t budget = kSendBudget;
  while (true) {
    while (Commit()) {
    }
    blocked_ = !committed_.empty();
    if (!blocked_) return Sent::kAll;
    if (budget == 0) return Sent::kMore;
    std::vector<RegisteredUse> uses;
    std::size_t known;
    const std::size_t wanted = Gather(gathered_, uses, known);
    if (gathered_.empty()) continue;  // all of it was taken back
    ByteStream::Moved moved = stream_.Write(gathered_, known);
    if (moved.state == ByteStream::State::kBlocked) return Sent::kBlocked;
    if (moved.state == ByteStream::State::kFault && FailUnreadable()) continue;
    if (moved.state != ByteStream::State::kMoved) {
      // What the peer said before it went is still to be read; then the end shows.
      stopped_ = true;
      blocked_ = false;
      stream_.Shutdown();
      return Sent::kAll;
    }
    Consume(moved.bytes);
    budget -= std::min(budget, wanted);
  }
}

}  // namespace memfabric::transport::tcp
