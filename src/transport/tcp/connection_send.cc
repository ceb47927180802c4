// What goes out: which frame is next, and as much of it as the socket takes.

#include <algorithm>

#include "base/log.h"
#include "transport/tcp/connection.h"

namespace memfabric::transport::tcp {
namespace {

constexpr std::size_t kSendParts = 64;
constexpr std::size_t kSendBytes = (1 << 20) + (64 << 10);  // of one system call: 1 MiB, its header and table
constexpr std::size_t kSendBudget = 4 << 20;                // then others get their turn
constexpr std::size_t kCommitBytes = 1 << 18;               // gathered before a system call
constexpr std::size_t kCommitFrames = 24;

const std::array<std::byte, 1 << 16> zeros{};  // in place of memory that is registered no more

}  // namespace

void Connection::Bounds::Add(std::uint64_t from, std::uint64_t size_bytes) {
  if (size_bytes == 0) return;
  begin = std::min(begin, from);
  end = std::max(end, from + size_bytes);
}

Connection::Outgoing Connection::Frame(const Header& header) {
  Outgoing frame;
  frame.header = EncodeHeader(header);
  frame.sequence = header.sequence;
  return frame;
}

Connection::Outgoing Connection::DoneFrame(std::uint64_t sequence, const Status& status, std::uint64_t value) {
  auto text = std::as_bytes(std::span(status.message()));
  text = text.first(std::min(text.size(), kMaxErrorBytes));
  Header header{.op = Op::kDone, .zone = static_cast<std::uint8_t>(status.kind()), .sequence = sequence};
  header.offset = value;
  header.size_bytes = text.size();
  Outgoing frame = Frame(header);
  frame.body.assign(text.begin(), text.end());
  frame.answer = true;
  return frame;
}

Status Connection::Start(Op op, Zone zone, std::span<const Piece> pieces) {
  Queued queued;
  Request& request = queued.request;
  request.op = op;
  request.zone = IsRegistered(op) ? 0 : static_cast<std::uint8_t>(Index(zone));
  std::vector<iovec> parts;
  parts.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    request.size_bytes += piece.size_bytes;
    request.remote.Add(piece.remote_offset, piece.size_bytes);
    request.local.Add(reinterpret_cast<std::uint64_t>(piece.local), piece.size_bytes);
    if (piece.size_bytes > 0) parts.push_back({piece.local, piece.size_bytes});
  }
  if (parts.empty()) return Ok();
  Header header{.op = op, .zone = request.zone, .count = static_cast<std::uint32_t>(pieces.size())};
  header.size_bytes = request.size_bytes;
  if (pieces.size() == 1) header.offset = pieces[0].remote_offset;
  if (pieces.size() > 1) queued.frame.body = EncodeTable(pieces);
  (PayloadBytes(header) > 0 ? queued.frame.payload : request.destination) = std::move(parts);
  return Enqueue(header, std::move(queued));
}

Status Connection::Signal(Zone zone, std::uint64_t remote_offset, std::span<const std::byte> bytes) {
  Queued queued;
  queued.request.op = Op::kSignal;
  queued.request.zone = static_cast<std::uint8_t>(Index(zone));
  queued.request.remote.Add(remote_offset, bytes.size());
  queued.frame.body.assign(bytes.begin(), bytes.end());
  Header header{.op = Op::kSignal, .zone = queued.request.zone, .count = 1};
  header.offset = remote_offset;
  header.size_bytes = bytes.size();
  return Enqueue(header, std::move(queued));
}

Result<std::uint64_t> Connection::Atomic(Zone zone, const AtomicRequest& atomic, Deadline deadline) {
  auto cell = std::make_shared<Cell>();
  Queued queued;
  queued.request.op = Op::kAtomic;
  queued.request.zone = static_cast<std::uint8_t>(Index(zone));
  queued.request.remote.Add(atomic.offset, sizeof(std::uint64_t));
  queued.request.cell = cell;
  auto operands = EncodeOperands(atomic);
  queued.frame.body.assign(operands.begin(), operands.end());
  Header header{.op = Op::kAtomic, .zone = queued.request.zone, .count = static_cast<std::uint32_t>(atomic.operation)};
  header.offset = atomic.offset;
  header.size_bytes = operands.size();
  RETURN_IF_ERROR(Enqueue(header, std::move(queued)));
  RETURN_IF_ERROR(Await(deadline, [&] { return cell->is_known; }));
  RETURN_IF_ERROR(cell->status);
  return cell->value;
}

Status Connection::Enqueue(Header header, Queued queued) {
  std::unique_lock lock(send_mutex_);
  RETURN_IF_ERROR(down_);
  header.sequence = queued.request.sequence = next_sequence_++;
  header.token = peer_tokens_[IsRegistered(header.op) ? kRegisteredToken : header.zone];
  queued.request.by = std::this_thread::get_id();
  queued.frame.header = EncodeHeader(header);
  queued.frame.sequence = header.sequence;
  queued.frame.by = queued.request.by;
  if (queued.request.size_bytes >= kBulkBytes) bulk_sequence_ = header.sequence;
  if (header.op == Op::kPut) unacknowledged_.push_back(header.sequence);
  requests_.push_back(std::move(queued));
  SendUntilBlocked(lock);
  return Ok();
}

void Connection::SendUntilBlocked(std::unique_lock<std::mutex>& lock) {
  if (!open_) return;
  while (PumpOut() == Sent::kMore && !reactor_.OnThread()) {
    lock.unlock();  // whoever reads may have something to say
    lock.lock();
  }
  UpdateWatch();
}

// What the peer may do to a range that a GET before has not brought yet must wait until it has.
bool Connection::MayCommit(const Request& request) const {
  if (!requests_open_) return false;
  if (IsAnswered(request.op) && unanswered_.size() >= kMaxUnanswered) return false;
  if (request.op == Op::kGet || request.op == Op::kGetRegistered) return true;
  return std::none_of(unanswered_.begin(), unanswered_.end(), [&](const Request& earlier) {
    if (earlier.op != Op::kGet && earlier.op != Op::kGetRegistered) return false;
    const bool same_memory = IsRegistered(earlier.op) == IsRegistered(request.op) && earlier.zone == request.zone;
    return (same_memory && earlier.remote.Meets(request.remote)) || earlier.local.Meets(request.local);
  });
}

// In place of what isn't sent yet of the payload.
void Connection::SendZeros(Outgoing& frame) {
  std::size_t left = 0;
  for (std::size_t i = frame.part < 2 ? 0 : frame.part - 2; i < frame.payload.size(); ++i) left += frame.payload[i].iov_len;
  if (frame.part >= 2) left -= std::exchange(frame.part_done, 0);
  frame.part = std::min<std::size_t>(frame.part, 2);
  frame.payload.clear();
  for (std::size_t size; left > 0; left -= size) {
    size = std::min(left, zeros.size());
    frame.payload.push_back({const_cast<std::byte*>(zeros.data()), size});
  }
}

void Connection::CommitFrame(Outgoing frame) {
  committed_bytes_ += frame.header.size() + frame.body.size();
  for (const iovec& part : frame.payload) committed_bytes_ += part.iov_len;
  committed_.push_back(std::move(frame));
}

// Puts the next frame behind those that are committed; false: there is none for now.
bool Connection::Commit() {
  if (committed_bytes_ >= kCommitBytes || committed_.size() >= kCommitFrames) return false;
  if (!committed_.empty() && committed_.back().registered_bytes) return false;  // its DONE is next
  if (!control_.empty()) {
    Outgoing frame = Frame({.op = Op::kControl, .size_bytes = control_.front().size()});
    frame.body = std::move(control_.front());
    control_.pop_front();
    CommitFrame(std::move(frame));
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
std::size_t Connection::GatherFrames(std::vector<iovec>& into, std::vector<RegisteredUse>& uses) {
  std::size_t bytes = 0;
  for (Outgoing& frame : committed_) {
    for (std::size_t part = frame.part; part < 2 + frame.payload.size(); ++part) {
      iovec next = part == 0   ? iovec{frame.header.data(), frame.header.size()}
                   : part == 1 ? iovec{frame.body.data(), frame.body.size()}
                               : frame.payload[part - 2];
      const std::size_t done = part == frame.part ? frame.part_done : 0;
      next = {static_cast<std::byte*>(next.iov_base) + done, std::min(next.iov_len - done, kSendBytes - bytes)};
      if (part >= 2 && frame.registered_bytes && !AcquireParts({&next, 1}, uses, frame.error)) {
        next = {const_cast<std::byte*>(zeros.data()), std::min(next.iov_len, zeros.size())};
        into.push_back(next);
        return bytes + next.iov_len;
      }
      if (next.iov_len > 0) into.push_back(next);
      bytes += next.iov_len;
      if (bytes == kSendBytes || into.size() == kSendParts) return bytes;
    }
  }
  return bytes;
}

void Connection::Consume(std::size_t bytes) {
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
    if (frame.registered_bytes) {
      Outgoing done = DoneFrame(frame.sequence, frame.error, 0);
      committed_.pop_front();
      CHECK(committed_.empty());
      CommitFrame(std::move(done));
      return;
    }
    committed_.pop_front();
  }
}

Connection::Sent Connection::PumpOut() {
  if (!open_ || closed_ || send_broken_) return Sent::kAll;
  std::size_t budget = kSendBudget;
  while (true) {
    while (Commit()) {
    }
    blocked_ = !committed_.empty();
    if (!blocked_) return Sent::kAll;
    if (budget == 0) return Sent::kMore;
    std::vector<RegisteredUse> uses;
    gathered_frames_.clear();
    const std::size_t wanted = GatherFrames(gathered_frames_, uses);
    Stream::Moved moved = stream_->Write(gathered_frames_);
    if (moved.state == Stream::State::kBlocked) return Sent::kBlocked;
    if (moved.state == Stream::State::kEnded) {
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
