// What goes out: which frame is next, and as much of it as the socket takes.

#include <algorithm>

#include "base/log.h"
#include "transport/tcp/connection.h"

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

const std::array<std::byte, 1 << 16> zeros{};  // in place of memory that is registered no more

}  // namespace

void TcpConnection::Bounds::Add(std::uint64_t from, std::uint64_t size_bytes) {
  if (size_bytes == 0) return;
  begin = std::min(begin, from);
  end = std::max(end, from + size_bytes);
}

TcpConnection::Outgoing TcpConnection::Frame(const Header& header) {
  Outgoing frame;
  frame.header = EncodeHeader(header);
  frame.sequence = header.sequence;
  return frame;
}

TcpConnection::Outgoing TcpConnection::DoneFrame(std::uint64_t sequence, const Status& status,
                                                 std::uint64_t value) {
  auto text = std::as_bytes(std::span(status.message()));
  text = text.first(std::min(text.size(), kMaxErrorBytes));
  Outgoing frame = Frame({.op = Op::kDone,
                          .kind = status.kind(),
                          .sequence = sequence,
                          .value = value,
                          .size_bytes = text.size()});
  frame.body.assign(text.begin(), text.end());
  frame.answer = true;
  return frame;
}

Status TcpConnection::Start(Op op, Zone zone, std::span<const Piece> pieces) {
  Queued queued;
  Request& request = queued.request;
  request.op = op;
  request.zone = IsRegistered(op) ? 0 : static_cast<std::uint8_t>(Index(zone));
  std::vector<iovec> parts;
  parts.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    request.size_bytes += piece.size_bytes;
    request.remote.Add(piece.target, piece.size_bytes);
    request.local.Add(reinterpret_cast<std::uint64_t>(piece.local), piece.size_bytes);
    if (piece.size_bytes > 0) parts.push_back({piece.local, piece.size_bytes});
  }
  if (parts.empty()) return Ok();
  // Found out later, it would cost what the remote range holds.
  if (op == Op::kPut || op == Op::kPutRegistered) {
    for (const iovec& part : parts) {
      if (part.iov_len >= kCheapCheckBytes)
        RETURN_IF_ERROR(CheckOwnMemory(part.iov_base, part.iov_len, false));
    }
  }
  Header header{.op = op, .zone = request.zone, .count = static_cast<std::uint32_t>(pieces.size())};
  header.size_bytes = request.size_bytes;
  if (pieces.size() == 1) header.target = pieces[0].target;
  if (pieces.size() > 1) queued.frame.body = EncodeTable(pieces);
  (PayloadBytes(header) > 0 ? queued.frame.payload : request.destination) = std::move(parts);
  queued.frame.unknown = !queued.frame.payload.empty();
  return Enqueue(header, std::move(queued));
}

Status TcpConnection::Signal(Zone zone, std::uint64_t slot_offset,
                             std::span<const std::byte> bytes) {
  Queued queued;
  queued.request.op = Op::kSignal;
  queued.request.zone = static_cast<std::uint8_t>(Index(zone));
  queued.request.remote.Add(slot_offset, bytes.size());
  queued.frame.body.assign(bytes.begin(), bytes.end());
  Header header{.op = Op::kSignal, .zone = queued.request.zone, .count = 1};
  header.target = slot_offset;
  header.size_bytes = bytes.size();
  return Enqueue(header, std::move(queued));
}

Result<std::uint64_t> TcpConnection::Atomic(Zone zone, const AtomicRequest& atomic,
                                            Deadline deadline) {
  auto cell = std::make_shared<Cell>();
  Queued queued;
  queued.request.op = Op::kAtomic;
  queued.request.zone = static_cast<std::uint8_t>(Index(zone));
  queued.request.remote.Add(atomic.slot_offset, sizeof(std::uint64_t));
  queued.request.cell = cell;
  auto operands = EncodeOperands(atomic);
  queued.frame.body.assign(operands.begin(), operands.end());
  Header header{.op = Op::kAtomic,
                .zone = queued.request.zone,
                .count = static_cast<std::uint32_t>(atomic.operation)};
  header.target = atomic.slot_offset;
  header.size_bytes = operands.size();
  RETURN_IF_ERROR(Enqueue(header, std::move(queued)));
  RETURN_IF_ERROR(Await(deadline, [&] { return cell->is_known; }));
  RETURN_IF_ERROR(cell->status);
  return cell->value;
}

Status TcpConnection::Enqueue(Header header, Queued queued) {
  std::unique_lock lock(send_mutex_);
  RETURN_IF_ERROR(down_);
  header.sequence = queued.request.sequence = next_sequence_++;
  header.token = peer_tokens_[IsRegistered(header.op) ? kRegisteredToken : header.zone];
  queued.request.by = std::this_thread::get_id();
  queued.frame.header = EncodeHeader(header);
  queued.frame.sequence = header.sequence;
  queued.frame.by = queued.request.by;
  if (queued.request.size_bytes >= kBulkBytes) bulk_sequence_ = header.sequence;
  if (header.op == Op::kPut) unacknowledged_.push_back({header.sequence, queued.request.by});
  requests_.push_back(std::move(queued));
  SendUntilBlocked(lock);
  return Ok();
}

void TcpConnection::SendUntilBlocked(std::unique_lock<std::mutex>& lock) {
  if (!open_) return;
  while (PumpOut() == Sent::kMore && !reactor_.OnThread()) {
    lock.unlock();  // whoever reads may have something to say
    lock.lock();
  }
  UpdateWatch();
}

// What the peer may do to a range that a GET before has not brought yet must wait until it has.
bool TcpConnection::MayCommit(const Request& request) const {
  if (!requests_open_) return false;
  if (IsAnswered(request.op) && unanswered_.size() >= kMaxUnanswered) return false;
  if (request.op == Op::kGet || request.op == Op::kGetRegistered) return true;
  return std::none_of(unanswered_.begin(), unanswered_.end(), [&](const Request& earlier) {
    if (earlier.op != Op::kGet && earlier.op != Op::kGetRegistered) return false;
    const bool same_memory =
        IsRegistered(earlier.op) == IsRegistered(request.op) && earlier.zone == request.zone;
    return (same_memory && earlier.remote.Meets(request.remote)) ||
           earlier.local.Meets(request.local);
  });
}

// In place of what isn't sent yet of the payload.
void TcpConnection::SendZeros(Outgoing& frame) {
  std::size_t left = 0;
  for (std::size_t i = frame.part < 2 ? 0 : frame.part - 2; i < frame.payload.size(); ++i)
    left += frame.payload[i].iov_len;
  if (frame.part >= 2) left -= std::exchange(frame.part_done, 0);
  frame.part = std::min<std::size_t>(frame.part, 2);
  frame.payload.clear();
  frame.unknown = frame.registered_bytes = false;
  for (std::size_t size; left > 0; left -= size) {
    size = std::min(left, zeros.size());
    frame.payload.push_back({const_cast<std::byte*>(zeros.data()), size});
  }
}

// What comes behind the first segment of its payload.
std::optional<TcpConnection::Outgoing> TcpConnection::SplitRest(Outgoing& frame) {
  std::uint64_t left = kSegmentBytes;
  std::size_t i = 0;
  for (; i < frame.payload.size() && frame.payload[i].iov_len <= left; ++i)
    left -= frame.payload[i].iov_len;
  if (i == frame.payload.size()) return std::nullopt;
  Outgoing rest;
  rest.payload.assign(frame.payload.begin() + static_cast<std::ptrdiff_t>(i), frame.payload.end());
  frame.payload.resize(left > 0 ? i + 1 : i);
  if (left > 0) {
    frame.payload[i].iov_len = left;
    rest.payload[0].iov_base = static_cast<std::byte*>(rest.payload[0].iov_base) + left;
    rest.payload[0].iov_len -= left;
  }
  rest.is_rest = true;
  rest.is_data = frame.is_data;
  rest.unknown = frame.unknown;
  rest.registered_bytes = frame.registered_bytes;
  rest.lent = frame.lent;
  rest.answer = std::exchange(frame.answer, false);
  rest.done_follows = std::exchange(frame.done_follows, false);
  rest.error = frame.error;
  rest.sequence = frame.sequence;
  rest.by = frame.by;
  return rest;
}

// Of user's files: read before it is sent, as the header promises it.
void TcpConnection::CopyLent(Outgoing& frame) {
  for (const iovec& part : frame.payload) {
    const auto* from = static_cast<const std::byte*>(part.iov_base);
    for (std::size_t done = 0; done < part.iov_len;) {
      const std::size_t size = std::min(part.iov_len - done, kScratchBytes);
      if (bounce_->Load(kScratchOffset, from + done, size) < size) {
        const Status why = InvalidArgument(
            "what was asked for can't be read: the user's file that it lies in has shrunk");
        WarnOfMemory(why);
        rest_.reset();
        Outgoing end = DoneFrame(frame.sequence, why, 0);
        if (frame.is_rest) {
          end = Frame({.op = Op::kAbort, .sequence = frame.sequence});
          end.done_follows = true;
          end.error = why;
        }
        frame = std::move(end);
        return;
      }
      frame.copy.insert(frame.copy.end(), bounce_->data() + kScratchOffset,
                        bounce_->data() + kScratchOffset + size);
      done += size;
    }
  }
  frame.payload = {{frame.copy.data(), frame.copy.size()}};
}

// The segment that the stream has to go on with, or that it ends early; false: there is none.
bool TcpConnection::CommitRest() {
  if (!rest_.has_value()) return false;
  Outgoing frame = *std::exchange(rest_, std::nullopt);
  if (frame.given_up || !frame.error.ok()) {
    frame.payload.clear();
    frame.lent = frame.answer = false;
    frame.done_follows = frame.is_data;
    frame.header = EncodeHeader({.op = Op::kAbort, .sequence = frame.sequence});
  } else {
    std::uint64_t left = 0;
    for (const iovec& part : frame.payload) left += part.iov_len;
    Header header{.op = Op::kMore, .sequence = frame.sequence};
    header.size_bytes = std::min(left, kSegmentBytes);
    frame.header = EncodeHeader(header);
  }
  CommitFrame(std::move(frame));
  return true;
}

bool TcpConnection::IsRestOf(const Outgoing& frame) const {
  return rest_.has_value() && rest_->sequence == frame.sequence && rest_->by == frame.by;
}

// Its payload can't be had. What has begun goes on with zeros; what hasn't is taken back.
void TcpConnection::Fail(Outgoing& frame, const Status& why) {
  const bool own = frame.by != std::thread::id{};
  const bool begun =
      frame.is_rest || frame.part > 0 || frame.part_done > 0 || stream_->HoldsBytes();
  if (own) {
    errors_.try_emplace(frame.by, why);
  } else {
    frame.error = why;
  }
  if (!begun) {
    if (IsRestOf(frame)) rest_.reset();
    committed_bytes_ -= frame.header.size() + frame.body.size();
    for (const iovec& part : frame.payload) committed_bytes_ -= part.iov_len;
    const std::uint64_t sequence = frame.sequence;
    if (own) {
      std::erase_if(committed_, [&](const Outgoing& one) { return &one == &frame; });
      std::erase_if(unacknowledged_, [&](const auto& put) { return put.sequence == sequence; });
      std::erase_if(unanswered_, [&](const auto& request) { return request.sequence == sequence; });
      WakeWaiters();
    } else {
      frame = DoneFrame(sequence, why, 0);
      committed_bytes_ += frame.header.size() + frame.body.size();
    }
    return;
  }
  for (Outgoing& one : committed_) {
    if (one.sequence != frame.sequence || one.by != frame.by || !one.unknown) continue;
    if (!own) one.error = why;
    SendZeros(one);
  }
  if (!IsRestOf(frame)) return;
  rest_->given_up = true;
  rest_->payload.clear();
  if (!own) rest_->error = why;
}

// The socket met memory that can't be read: whose is it? False: nobody's but ours, so the machine
// has none left.
bool TcpConnection::FailUnreadable() {
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
    WarnOfMemory(why);
    Fail(frame, why);
  };
  for (Outgoing& frame : committed_) {
    if (!frame.unknown) continue;
    std::vector<iovec> unsent(frame.payload.begin() + static_cast<std::ptrdiff_t>(
                                                          std::max<std::size_t>(frame.part, 2) - 2),
                              frame.payload.end());
    if (frame.part >= 2) {
      unsent[0].iov_base = static_cast<std::byte*>(unsent[0].iov_base) + frame.part_done;
      unsent[0].iov_len -= frame.part_done;
    }
    const std::size_t bad = FirstUnreadable(*bounce_, kScratchOffset, unsent);
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

void TcpConnection::CommitFrame(Outgoing frame) {
  if (auto rest = SplitRest(frame); rest.has_value()) rest_ = std::move(rest);
  if (frame.lent) CopyLent(frame);
  committed_bytes_ += frame.header.size() + frame.body.size();
  for (const iovec& part : frame.payload) committed_bytes_ += part.iov_len;
  committed_.push_back(std::move(frame));
}

// Puts the next frame behind those that are committed; false: there is none for now.
bool TcpConnection::Commit() {
  if (committed_bytes_ >= kCommitBytes || committed_.size() >= kCommitFrames) return false;
  if (!committed_.empty() && committed_.back().done_follows) return false;
  if (CommitRest()) return true;
  if (!control_.empty()) {
    Outgoing frame = Frame({.op = Op::kControl, .size_bytes = control_.front().size()});
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
    CommitFrame(Frame({.op = Op::kCancel, .sequence = cancels_.front()}));
    cancels_.pop_front();
    return true;
  }
  if (acknowledge_ != 0) {
    CommitFrame(Frame({.op = Op::kAck, .sequence = std::exchange(acknowledge_, 0)}));
    return true;
  }
  if (std::exchange(pong_, false)) {
    CommitFrame(Frame({.op = Op::kPong}));
    return true;
  }
  if (std::exchange(ping_, false)) {
    asked_bytes_.fetch_add(kHeaderBytes + stream_->overhead_bytes(), std::memory_order_relaxed);
    CommitFrame(Frame({.op = Op::kPing}));
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
  Queued next = std::move(requests_.front());
  requests_.pop_front();
  CommitFrame(std::move(next.frame));
  if (next.request.op == Op::kPut) committed_put_ = next.request.sequence;
  if (IsAnswered(next.request.op)) unanswered_.push_back(std::move(next.request));
  return true;
}

// The begin of what is committed, as far as one system call takes it.
std::size_t TcpConnection::GatherFrames(std::vector<iovec>& into, std::vector<RegisteredUse>& uses,
                                        std::size_t& known) {
  into.clear();
  uses.clear();
  known = kSendParts;
  std::size_t bytes = 0;
  for (Outgoing& frame : committed_) {
    for (std::size_t part = frame.part; part < 2 + frame.payload.size(); ++part) {
      iovec next = part == 0   ? iovec{frame.header.data(), frame.header.size()}
                   : part == 1 ? iovec{frame.body.data(), frame.body.size()}
                               : frame.payload[part - 2];
      const std::size_t done = part == frame.part ? frame.part_done : 0;
      next = {static_cast<std::byte*>(next.iov_base) + done,
              std::min(next.iov_len - done, kSendBytes - bytes)};
      Status registered;
      if (part >= 2 && frame.registered_bytes && !AcquireParts({&next, 1}, uses, registered)) {
        Fail(frame, registered);
        return GatherFrames(into, uses, known);
      }
      if (part >= 2 && frame.unknown) known = std::min(known, into.size());
      if (next.iov_len > 0) into.push_back(next);
      bytes += next.iov_len;
      if (bytes == kSendBytes || into.size() == kSendParts) return bytes;
    }
  }
  return bytes;
}

void TcpConnection::Consume(std::size_t bytes) {
  committed_bytes_ -= bytes;
  while (!committed_.empty()) {
    Outgoing& frame = committed_.front();
    for (; frame.part < 2 + frame.payload.size(); ++frame.part, frame.part_done = 0) {
      const std::size_t size = frame.part == 0   ? frame.header.size()
                               : frame.part == 1 ? frame.body.size()
                                                 : frame.payload[frame.part - 2].iov_len;
      const std::size_t taken = std::min(bytes, size - frame.part_done);
      frame.part_done += taken;
      bytes -= taken;
      if (frame.part_done < size) return;
    }
    if (frame.answer) --peers_unanswered_;
    if (frame.done_follows) {
      Outgoing done = DoneFrame(frame.sequence, frame.error, 0);
      committed_.pop_front();
      CHECK(committed_.empty());
      CommitFrame(std::move(done));
      return;
    }
    committed_.pop_front();
  }
}

TcpConnection::Sent TcpConnection::PumpOut() {
  if (!open_ || closed_ || send_broken_) return Sent::kAll;
  std::size_t budget = kSendBudget;
  while (true) {
    while (Commit()) {
    }
    blocked_ = !committed_.empty();
    if (!blocked_) return Sent::kAll;
    if (budget == 0) return Sent::kMore;
    std::vector<RegisteredUse> uses;
    std::size_t known;
    const std::size_t wanted = GatherFrames(gathered_frames_, uses, known);
    if (gathered_frames_.empty()) continue;  // all of it was taken back
    ByteStream::Moved moved = stream_->Write(gathered_frames_, known);
    if (moved.state == ByteStream::State::kBlocked) return Sent::kBlocked;
    if (moved.state == ByteStream::State::kFault && FailUnreadable()) continue;
    if (moved.state != ByteStream::State::kMoved) {
      // What the peer said before it went is still to be read; then the end shows.
      send_broken_ = true;
      blocked_ = false;
      stream_->Shutdown();
      return Sent::kAll;
    }
    Consume(moved.bytes);
    budget -= std::min(budget, wanted);
  }
}

}  // namespace memfabric::transport::tcp
