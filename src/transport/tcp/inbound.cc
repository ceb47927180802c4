#include "transport/tcp/inbound.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "transport/meeting/peer_protocol.h"

namespace memfabric::transport::tcp {
namespace {

constexpr std::size_t kReadParts = 64;
constexpr std::size_t kMaxInbox = 16;
constexpr std::size_t kStagingBytes = 8 << 10;  // of the bounce buffer

iovec At(std::byte* memory, const TargetRange& range) {
  return {memory + range.target, range.size_bytes};
}

bool IsBye(std::span<const std::byte> message) {
  auto parsed = meeting::ParseMessage(message);
  return parsed.ok() && std::holds_alternative<meeting::Bye>(*parsed);
}

}  // namespace

Packet Inbound::TakeMessage(std::span<std::byte> buffer) {
  Packet packet;
  if (!inbox_.empty()) {
    CHECK(inbox_.front().size() <= buffer.size());
    std::copy(inbox_.front().begin(), inbox_.front().end(), buffer.begin());
    packet.state = Packet::State::kMessage;
    packet.size_bytes = inbox_.front().size();
    inbox_.pop_front();
  } else if (ended_) {
    packet.state = Packet::State::kEnded;
    packet.why = end_why_;
  }
  return packet;
}

void Inbound::Stop(Status why) {
  ended_ = true;
  end_why_ = std::move(why);
}

void Inbound::End(const Status& why) {
  Stop(why);
  stream_.Shutdown();
  const bool has_left = !inbox_.empty() && IsBye(inbox_.back());
  if (outbound_.OnEnd(why, has_left)) DropPayload();
  wake_port_();
}

void Inbound::DropData() {
  if (payload_left_ == 0 || header_.op != Op::kData) return;
  parts_.clear();
  (reading_ == Reading::kHeader ? resume_ : reading_) = Reading::kJunk;
}

bool Inbound::MayParse() const {
  return (attached_ || inbox_.empty()) && inbox_.size() < kMaxInbox;
}

Inbound::Pumped Inbound::Pump(std::size_t budget) {
  bool drained = false;
  while (true) {
    if (ended_) return Pumped::kEnded;
    if (Status parsed = Parse(); !parsed.ok()) {
      End(parsed);
      return Pumped::kEnded;
    }
    if (!MayParse()) return Pumped::kPaused;
    if (drained) return Pumped::kDrained;
    if (budget == 0) return Pumped::kBudget;

    // The rest of the payload goes where it belongs; what follows it into the staging.
    gathered_.clear();
    const std::size_t payload =
        GatherParts(std::min<std::uint64_t>(budget, segment_left_), gathered_);
    const std::size_t unknown = IntoUnknown() ? gathered_.size() : 0;
    std::vector<RegisteredUse> uses;
    if (reading_ == Reading::kPayload && header_.op == Op::kPutRegistered &&
        !memory_->Acquire(gathered_, uses, put_error_)) {
      reading_ = Reading::kJunk;
      continue;
    }
    std::size_t wanted = payload;
    if (payload == segment_left_ || reading_ == Reading::kJunk) {
      if (staged_begin_ == staged_end_) staged_begin_ = staged_end_ = 0;
      gathered_.push_back({bounce_.data() + staged_end_, kStagingBytes - staged_end_});
      wanted += gathered_.back().iov_len;
    }
    ByteStream::Moved moved = stream_.Read(gathered_, unknown);
    uses.clear();
    if (moved.state == ByteStream::State::kBlocked) return Pumped::kDrained;
    if (moved.state == ByteStream::State::kEnded) {
      End(moved.why);
      return Pumped::kEnded;
    }
    if (moved.bytes > 0)
      heard_ns_.store(std::chrono::steady_clock::now().time_since_epoch().count(),
                      std::memory_order_relaxed);
    budget -= std::min(budget, moved.bytes);
    const std::size_t taken = std::min(moved.bytes, payload);
    staged_end_ += moved.bytes - taken;
    const auto place =
        part_ < parts_.size() ? reinterpret_cast<std::uint64_t>(parts_[part_].iov_base) : 0;
    AdvancePayload(taken);
    if (moved.state == ByteStream::State::kFault) FailPayload(place);
    if (taken > 0 && segment_left_ == 0) {
      if (Status whole = OnSegmentEnd(); !whole.ok()) {
        End(whole);
        return Pumped::kEnded;
      }
    }
    if (moved.state == ByteStream::State::kFault) continue;
    drained = moved.bytes < wanted && !stream_.encrypted();  // it would have given more
  }
}

// The next places of the payload, at most `limit` bytes.
std::size_t Inbound::GatherParts(std::size_t limit, std::vector<iovec>& into) {
  std::size_t bytes = 0;
  if (reading_ != Reading::kPayload) return 0;
  for (std::size_t i = part_; i < parts_.size() && into.size() < kReadParts && bytes < limit; ++i) {
    into.push_back({parts_[i].iov_base, std::min(parts_[i].iov_len, limit - bytes)});
    bytes += into.back().iov_len;
  }
  return bytes;
}

void Inbound::AdvancePayload(std::size_t bytes) {
  payload_left_ -= bytes;
  segment_left_ -= bytes;
  received_.fetch_add(bytes, std::memory_order_relaxed);
  for (; part_ < parts_.size() && bytes >= parts_[part_].iov_len; ++part_)
    bytes -= parts_[part_].iov_len;
  if (bytes == 0) return;
  parts_[part_].iov_base = static_cast<std::byte*>(parts_[part_].iov_base) + bytes;
  parts_[part_].iov_len -= bytes;
}

// Works on what is staged, as far as it is whole.
Status Inbound::Parse() {
  while (staged_begin_ < staged_end_ && MayParse()) {
    std::span<std::byte> staged(bounce_.data() + staged_begin_, staged_end_ - staged_begin_);
    switch (reading_) {
      case Reading::kHeader: {
        if (staged.size() < kHeaderBytes) {
          std::memmove(bounce_.data(), staged.data(), staged.size());
          staged_begin_ = 0;
          staged_end_ = staged.size();
          return Ok();
        }
        ASSIGN_OR_RETURN(
            Header header,
            ParseHeader(std::span<const std::byte, kHeaderBytes>(staged.first(kHeaderBytes))));
        staged_begin_ += kHeaderBytes;
        if (payload_left_ > 0) {
          RETURN_IF_ERROR(OnContinuation(header));
        } else {
          header_ = header;
          RETURN_IF_ERROR(OnHeader());
        }
        break;
      }
      case Reading::kTable:
      case Reading::kBody: {
        auto more = staged.first(std::min(staged.size(), body_wanted_ - body_.size()));
        body_.insert(body_.end(), more.begin(), more.end());
        staged_begin_ += more.size();
        if (body_.size() == body_wanted_) RETURN_IF_ERROR(OnWhole());
        break;
      }
      case Reading::kJunk: {
        const std::size_t size = std::min<std::uint64_t>(staged.size(), segment_left_);
        staged_begin_ += size;
        payload_left_ -= size;
        segment_left_ -= size;
        received_.fetch_add(size, std::memory_order_relaxed);
        if (segment_left_ == 0) RETURN_IF_ERROR(OnSegmentEnd());
        break;
      }
      case Reading::kPayload: RETURN_IF_ERROR(StorePayload(staged)); break;
    }
  }
  return Ok();
}

// Copies what is staged of the payload to its place.
Status Inbound::StorePayload(std::span<const std::byte> staged) {
  gathered_.clear();
  std::size_t size = GatherParts(std::min<std::uint64_t>(staged.size(), segment_left_), gathered_);
  std::vector<RegisteredUse> uses;
  if (header_.op == Op::kPutRegistered && !memory_->Acquire(gathered_, uses, put_error_)) {
    reading_ = Reading::kJunk;
    return Ok();
  }
  if (IntoUnknown()) {
    if (bounce_.Store(staged_begin_, gathered_) < size) {
      FailPayload(reinterpret_cast<std::uint64_t>(parts_[part_].iov_base));
      return Ok();
    }
  } else {
    const std::byte* from = staged.data();
    for (const iovec& part : gathered_) {
      std::memcpy(part.iov_base, from, part.iov_len);
      from += part.iov_len;
    }
  }
  staged_begin_ += size;
  AdvancePayload(size);
  return segment_left_ == 0 ? OnSegmentEnd() : Ok();
}

Status Inbound::OnHeader() {
  if (!has_preface_) {
    auto tokens = ParsePreface(header_);
    if (!tokens.ok()) return InvalidArgument("it speaks {}", tokens.status().message());
    outbound_.OnPreface(*tokens);
    has_preface_ = true;
    return Ok();
  }
  if (header_.op == Op::kPreface) return InvalidArgument("a second PREFACE");
  if (header_.op != Op::kControl && !attached_)
    return InvalidArgument("a {} before the introduction", OpName(header_.op));
  if (IsRequest(header_.op)) RETURN_IF_ERROR(CheckRequest());
  body_.clear();
  body_wanted_ = TableBytes(header_);
  if (header_.op == Op::kControl || header_.op == Op::kAtomic || header_.op == Op::kDone)
    body_wanted_ = header_.size_bytes;
  reading_ = TableBytes(header_) > 0 ? Reading::kTable : Reading::kBody;
  return body_wanted_ == 0 ? OnWhole() : Ok();
}

Status Inbound::OnWhole() {
  reading_ = Reading::kHeader;
  switch (header_.op) {
    case Op::kControl:
      inbox_.push_back(std::move(body_));
      body_ = {};
      wake_port_();
      return Ok();
    case Op::kAck:
      received_.fetch_add(1, std::memory_order_relaxed);
      return outbound_.OnAck(header_.sequence);
    case Op::kDone:
      received_.fetch_add(1, std::memory_order_relaxed);
      return outbound_.OnDone(header_, body_);
    case Op::kData: return BeginData();
    case Op::kPing: outbound_.OnPing(); return Ok();
    case Op::kPong: return Ok();
    case Op::kCancel: outbound_.OnCancel(header_.sequence); return Ok();
    case Op::kMore:
    case Op::kAbort: return InvalidArgument("a {} where no payload goes on", OpName(header_.op));
    default: return BeginRequest();
  }
}

Status Inbound::CheckRequest() {
  const std::size_t token = IsRegistered(header_.op) ? kRegisteredToken : header_.zone;
  if (header_.token != tokens_[token])
    return InvalidArgument("a {} with a wrong token", OpName(header_.op));
  if (header_.sequence <= seen_sequence_) {
    return InvalidArgument("request {} after request {}", header_.sequence, seen_sequence_);
  }
  seen_sequence_ = header_.sequence;
  return IsAnswered(header_.op) ? outbound_.OnAnswerWanted() : Ok();
}

// Where the pieces of header_'s request are here: parts_.
Status Inbound::FindParts(std::span<const TargetRange> ranges, Status& not_registered) {
  parts_.clear();
  part_ = 0;
  if (IsRegistered(header_.op)) {
    for (const TargetRange& range : ranges) {
      if (range.size_bytes > 0)
        parts_.push_back({reinterpret_cast<void*>(range.target), range.size_bytes});  // NOLINT
    }
    // All or nothing, as far as that goes: each part is looked up again when it is touched.
    std::vector<RegisteredUse> uses;
    (void)memory_->Acquire(parts_, uses, not_registered);
    return Ok();
  }
  const std::uint64_t allocated = memory_->allocated_bytes(header_.zone);
  for (const TargetRange& range : ranges) {
    if (range.size_bytes > allocated || range.target > allocated - range.size_bytes) {
      return InvalidArgument("a {} of {} bytes at {}, of {}", OpName(header_.op), range.size_bytes,
                             range.target, allocated);
    }
    if (range.size_bytes > 0) parts_.push_back(At(memory_->slots[header_.zone], range));
  }
  return Ok();
}

Status Inbound::BeginRequest() {
  if (header_.op == Op::kAtomic) return PerformRequest();
  ASSIGN_OR_RETURN(std::vector<TargetRange> ranges, ParseTable(header_, body_));
  Status not_registered;
  RETURN_IF_ERROR(FindParts(ranges, not_registered));
  if (header_.op == Op::kPut || header_.op == Op::kPutRegistered || header_.op == Op::kSignal) {
    put_error_ = not_registered;
    BeginPayload(put_error_.ok());
    return payload_left_ == 0 ? OnPayload() : Ok();
  }
  if (!not_registered.ok()) {
    outbound_.Answer(Outgoing::Done(header_.sequence, not_registered));
    return Ok();
  }
  Outgoing frame = Outgoing::Frame(
      {.op = Op::kData, .sequence = header_.sequence, .size_bytes = header_.size_bytes});
  frame.payload = std::exchange(parts_, {});
  frame.is_data = true;
  frame.registered_bytes = frame.unknown = frame.done_follows = header_.op == Op::kGetRegistered;
  frame.answer = !frame.done_follows;
  frame.lent = header_.op == Op::kGet && memory_->lent[header_.zone];
  outbound_.Answer(std::move(frame));
  return Ok();
}

Status Inbound::PerformRequest() {
  AtomicRequest request = ParseAtomic(header_, std::span<const std::byte, 16>(body_.data(), 16));
  RETURN_IF_ERROR(CheckAtomic(kNoRank, kAllZones[header_.zone], request,
                              memory_->allocated_bytes(header_.zone)));
  auto* cell = reinterpret_cast<std::uint64_t*>(memory_->slots[header_.zone] + request.slot_offset);
  if (memory_->lent[header_.zone]) {
    if (Status there = CheckOwnMemory(cell, sizeof *cell, true); !there.ok()) {
      outbound_.Warn(there);
      outbound_.Answer(Outgoing::Done(header_.sequence, there));
      return Ok();
    }
  }
  outbound_.Answer(Outgoing::Done(header_.sequence, Ok(), PerformAtomic(cell, request)));
  memory_->Served(header_.zone);
  return Ok();
}

Status Inbound::BeginData() {
  bool wanted = false;
  RETURN_IF_ERROR(outbound_.OnData(header_, parts_, wanted));
  part_ = 0;
  BeginPayload(wanted);
  return Ok();
}

void Inbound::BeginPayload(bool wanted) {
  payload_left_ = header_.size_bytes;
  segment_left_ = std::min(payload_left_, kSegmentBytes);
  reading_ = wanted ? Reading::kPayload : Reading::kJunk;
}

// Memory of this member's own segments is there; what a user has registered, lent or named as a
// copy's destination may not be.
bool Inbound::IntoUnknown() const {
  if (reading_ != Reading::kPayload) return false;
  return header_.op == Op::kPutRegistered || header_.op == Op::kData || memory_->lent[header_.zone];
}

// The place at `address` can't be written to: the rest of the payload is taken off the stream, and
// whoever asked hears of it.
void Inbound::FailPayload(std::uint64_t address) {
  reading_ = Reading::kJunk;
  parts_.clear();
  if (header_.op == Op::kData) {
    return outbound_.FailData(InvalidArgument(
        "local address {:#x} can't be written to in this process: the memory was freed, is "
        "protected, or was never there",
        address));
  }
  if (header_.op == Op::kPutRegistered) {
    put_error_ = InvalidArgument(
        "address {:#x} is registered there, but can't be written to: its user has freed or "
        "protected it without unregistering it, or its file has shrunk",
        address);
  } else {
    put_error_ = InvalidArgument(
        "{} byte {} can't be written to: the user's file that it lies in has shrunk",
        ZoneName(kAllZones[header_.zone]),
        address - reinterpret_cast<std::uint64_t>(memory_->slots[header_.zone]));
  }
  outbound_.Warn(put_error_);
}

Status Inbound::OnSegmentEnd() {
  if (payload_left_ == 0) return OnPayload();
  resume_ = std::exchange(reading_, Reading::kHeader);
  return Ok();
}

// The header behind a segment that isn't the last.
Status Inbound::OnContinuation(const Header& header) {
  if (header.sequence != header_.sequence || (header.op != Op::kMore && header.op != Op::kAbort)) {
    return InvalidArgument("a {} of request {} in the middle of request {}'s payload",
                           OpName(header.op), header.sequence, header_.sequence);
  }
  if (header.op == Op::kAbort) {
    OnAborted();
    return Ok();
  }
  if (header.size_bytes != std::min(payload_left_, kSegmentBytes))
    return InvalidArgument("a segment of {} bytes, with {} to come", header.size_bytes,
                           payload_left_);
  segment_left_ = header.size_bytes;
  reading_ = resume_;
  return Ok();
}

void Inbound::OnAborted() {
  payload_left_ = segment_left_ = 0;
  parts_.clear();
  if (header_.op != Op::kData) return (void)OnPayload();
  reading_ = Reading::kHeader;
  outbound_.OnDataAborted();
}

// A payload is in its place.
Status Inbound::OnPayload() {
  reading_ = Reading::kHeader;
  if (header_.op == Op::kPut || header_.op == Op::kSignal) memory_->Served(header_.zone);
  switch (header_.op) {
    case Op::kPut: outbound_.Acknowledge(header_.sequence, std::exchange(put_error_, Ok())); break;
    case Op::kSignal: outbound_.OnSignal(); break;
    case Op::kPutRegistered:
      outbound_.Answer(Outgoing::Done(header_.sequence, std::exchange(put_error_, Ok())));
      break;
    default: outbound_.OnDataPlaced();
  }
  return Ok();
}

}  // namespace memfabric::transport::tcp
