#include "transport/fake/fake_link.h"

#include <algorithm>
#include <cstring>

#include "base/wait.h"

namespace memfabric::transport {
namespace {

enum class Op : std::uint8_t { kPut = 1, kGet = 2, kAnswer = 3 };

// Before the bytes of a put, and alone for a get. Both ends are the same program: sent as it lies
// in memory.
struct RequestHeader {
  Op op;
  std::uint8_t zone;
  std::array<std::uint8_t, 6> unused;
  std::uint64_t slot_offset;
  std::uint64_t size_bytes;
};
static_assert(sizeof(RequestHeader) == 24);

constexpr std::size_t kMaxPayload = meeting::kMaxDataBytes - sizeof(RequestHeader);

std::vector<std::byte> DataMessage(std::span<const std::byte> header,
                                   std::span<const std::byte> payload) {
  std::vector<std::byte> data(header.begin(), header.end());
  data.insert(data.end(), payload.begin(), payload.end());
  return meeting::EncodeMessage(meeting::Data{data});
}

}  // namespace

FakeLink::FakeLink(const MemberLife& peer, std::shared_ptr<const FakeMemory> memory,
                   std::shared_ptr<MessageSocket> socket, FakeFaults* faults)
    : peer_(peer), memory_(std::move(memory)), socket_(std::move(socket)), faults_(faults) {}

ZoneBytes FakeLink::allocated_bytes() const {
  std::lock_guard lock(mutex_);
  return allocated_bytes_;
}

Status FakeLink::Put(Zone zone, std::span<const Piece> pieces) { return Start(zone, pieces, true); }
Status FakeLink::Get(Zone zone, std::span<const Piece> pieces) {
  return Start(zone, pieces, false);
}

Status FakeLink::Start(Zone zone, std::span<const Piece> pieces, bool put) {
  if (pieces.size() > FakeTransport::kMaxPieces) {
    return InvalidArgument("{} pieces, {} go at once", pieces.size(), FakeTransport::kMaxPieces);
  }
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(why_down_);
  RETURN_IF_ERROR(CheckPieces(peer_.rank, zone, pieces, allocated_bytes_[Index(zone)]));
  for (const Piece& piece : pieces) {
    for (std::size_t done = 0; done < piece.size_bytes;) {
      std::size_t part = std::min(piece.size_bytes - done, kMaxPayload);
      RequestHeader header{put ? Op::kPut : Op::kGet,
                           static_cast<std::uint8_t>(Index(zone)),
                           {},
                           piece.target + done,
                           part};
      std::span<const std::byte> payload(piece.local + done, put ? part : 0);
      requests_.push_back(
          {put ? nullptr : piece.local + done, put ? 0 : part, std::this_thread::get_id()});
      socket_->Post(DataMessage(std::as_bytes(std::span(&header, 1)), payload));
      ++started_;
      done += part;
    }
  }
  return Ok();
}

Status FakeLink::Flush(Bound bound) {
  ProgressWatch watch(bound, std::chrono::steady_clock::now());
  std::unique_lock lock(mutex_);
  const std::uint64_t until = started_;  // other threads' too: more than asked, never less
  Status waited;
  do {
    waited = WaitUntil(lock, changed_, watch.deadline(),
                       [&] { return !why_down_.ok() || answered_ >= until; });
  } while (IsDeadlineExceeded(waited) &&
           !watch.IsOver(std::chrono::steady_clock::now(), static_cast<std::int64_t>(answered_)));
  RETURN_IF_ERROR(why_down_);
  if (waited.ok()) return waited;
  for (Request& request : requests_) {
    if (request.by == std::this_thread::get_id()) request.local = nullptr;
  }
  return waited.WithContext(fmt::format("rank {} did not answer", peer_.rank));
}

void FakeLink::MarkDown(const Status& why) {
  std::lock_guard lock(mutex_);
  why_down_ = why;
  requests_.clear();
  changed_.notify_all();
}

Status FakeLink::Grow(const PeerContribution& contribution) {
  std::lock_guard lock(mutex_);
  allocated_bytes_ = contribution.bytes.allocated_bytes;
  return Ok();
}

Status FakeLink::OnData(std::span<const std::byte> bytes, std::span<UniqueFd>) {
  if (bytes.empty()) return InvalidArgument("an empty request");
  return bytes[0] == static_cast<std::byte>(Op::kAnswer) ? OnAnswer(bytes.subspan(1))
                                                         : OnRequest(bytes);
}

Status FakeLink::OnRequest(std::span<const std::byte> bytes) {
  RequestHeader header;
  if (bytes.size() < sizeof header) return InvalidArgument("a request of {} bytes", bytes.size());
  std::memcpy(&header, bytes.data(), sizeof header);
  std::span<const std::byte> payload = bytes.subspan(sizeof header);
  bool put = header.op == Op::kPut;
  if ((!put && header.op != Op::kGet) || header.zone >= kZones || header.size_bytes > kMaxPayload ||
      payload.size() != (put ? header.size_bytes : 0)) {
    return InvalidArgument("a malformed request");
  }
  const Segment* segment = memory_->segments[header.zone];
  std::uint64_t allocated = segment == nullptr ? 0 : segment->allocated_bytes();
  if (header.size_bytes > allocated || header.slot_offset > allocated - header.size_bytes) {
    return InvalidArgument("a request for {} bytes at {}, of {}", header.size_bytes,
                           header.slot_offset, allocated);
  }
  moved_bytes_ += header.size_bytes;
  if (faults_ != nullptr && moved_bytes_ > faults_->die_after_bytes)
    return Disconnected("the test ends this link");
  std::byte* memory = memory_->mappings[header.zone].data() + header.slot_offset;
  std::vector<std::byte> answer{static_cast<std::byte>(Op::kAnswer)};
  if (put) {
    std::memcpy(memory, payload.data(), payload.size());
  } else {
    answer.insert(answer.end(), memory, memory + header.size_bytes);
  }
  auto send = [socket = socket_, answer = std::move(answer)] {
    socket->Post(meeting::EncodeMessage(meeting::Data{answer}));
  };
  if (faults_ == nullptr) {
    send();
  } else {
    faults_->Answer(std::move(send));
  }
  return Ok();
}

Status FakeLink::OnAnswer(std::span<const std::byte> bytes) {
  std::lock_guard lock(mutex_);
  if (requests_.empty()) return InvalidArgument("an answer to nothing");
  Request request = requests_.front();
  if (bytes.size() != request.size_bytes) return InvalidArgument("an answer of the wrong size");
  if (request.local != nullptr) std::memcpy(request.local, bytes.data(), bytes.size());
  requests_.pop_front();
  ++answered_;
  changed_.notify_all();
  return Ok();
}

}  // namespace memfabric::transport
