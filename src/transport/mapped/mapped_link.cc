#include "transport/mapped/mapped_link.h"

#include <cstring>

#include "memory/kernels.h"
#include "transport/mapped/chunk_message.h"

namespace memfabric::transport {
namespace {

constexpr std::size_t kMaxWanted = 4096;  // questions of a peer's that wait
constexpr std::size_t kMaxUnread = 64;    // answers that it hasn't read
constexpr std::chrono::milliseconds kUnreadPause{5};
constexpr std::size_t kMaxReasonBytes = 400;

std::vector<std::byte> Encode(const ChunkMessage& message, std::string_view reason = {}) {
  auto head = std::as_bytes(std::span(&message, 1));
  std::vector<std::byte> body(head.begin(), head.end());
  auto text = std::as_bytes(std::span(reason.substr(0, kMaxReasonBytes)));
  body.insert(body.end(), text.begin(), text.end());
  return meeting::EncodeMessage(meeting::Data{body});
}

std::string Printable(std::string_view text) {
  std::string printable(text.substr(0, kMaxReasonBytes));
  for (char& c : printable)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return printable;
}

}  // namespace

MappedLink::MappedLink(Options options) : options_(std::move(options)) {
  for (Zone zone : kAllZones) {
    if (options_.max_bytes[Index(zone)] == 0) continue;
    chunks_[Index(zone)] = std::make_shared<BackedChunks>(
        options_.max_bytes[Index(zone)],
        [zone, socket = options_.socket](std::uint64_t first, std::uint64_t count) {
          socket->Post(Encode({ChunkMessage::kWant, Index(zone), first, count}));
        });
  }
}

ZoneBytes MappedLink::allocated_bytes() const {
  ZoneBytes bytes;
  for (std::size_t zone = 0; zone < kZones; ++zone)
    bytes[zone] = allocated_bytes_[zone].load(std::memory_order_acquire);
  return bytes;
}

Status MappedLink::Prepare(Zone zone, std::span<const Piece> pieces) const {
  if (down_.load(std::memory_order_acquire)) return DownStatus();
  RETURN_IF_ERROR(CheckPieces(options_.peer.rank, zone, pieces,
                              allocated_bytes_[Index(zone)].load(std::memory_order_acquire)));
  for (const Piece& piece : pieces)
    if (piece.size_bytes > 0)
      RETURN_IF_ERROR(chunks_[Index(zone)]->Obtain(piece.target, piece.size_bytes));
  return Ok();
}

Status MappedLink::Put(Zone zone, std::span<const Piece> pieces) {
  RETURN_IF_ERROR(Prepare(zone, pieces));
  std::byte* slot = Slot(zone);
  for (const Piece& piece : pieces) CopyBytes(slot + piece.target, piece.local, piece.size_bytes);
  return Ok();
}

Status MappedLink::Get(Zone zone, std::span<const Piece> pieces) {
  RETURN_IF_ERROR(Prepare(zone, pieces));
  const std::byte* slot = Slot(zone);
  for (const Piece& piece : pieces) CopyBytes(piece.local, slot + piece.target, piece.size_bytes);
  return Ok();
}

Status MappedLink::Flush(Bound) {
  return down_.load(std::memory_order_acquire) ? DownStatus() : Ok();
}

Status MappedLink::Grow(const PeerContribution& contribution) {
  const ZoneBytes& bytes = contribution.bytes.allocated_bytes;
  const ZoneBytes former = allocated_bytes();
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone);
    if (bytes[i] == 0) continue;
    auto file =
        CheckSharedFile(contribution.files[i].get(), bytes[i], contribution.bytes.user_files[i]);
    if (!file.ok())
      return file.status().WithContext(
          fmt::format("rank {}, {} memory", options_.peer.rank, ZoneName(zone)));
    if (former[i] > 0 && *file != files_[i])
      return InvalidArgument("rank {} grows by another file", options_.peer.rank);
    files_[i] = *file;
  }
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone);
    if (bytes[i] == former[i]) continue;
    RETURN_IF_ERROR(
        options_.window
            ->Map(options_.slots[i] + former[i], bytes[i] - former[i], contribution.files[i].get(),
                  former[i])
            .WithContext(fmt::format("rank {}, {} memory", options_.peer.rank, ZoneName(zone))));
    allocated_bytes_[i].store(bytes[i], std::memory_order_release);
  }
  return Ok();
}

Status MappedLink::OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) {
  if (bytes.size() < sizeof(ChunkMessage) || !files.empty())
    return InvalidArgument("DATA of {} bytes", bytes.size());
  ChunkMessage message;
  std::memcpy(&message, bytes.data(), sizeof message);
  if (message.zone >= kZones) return InvalidArgument("DATA about zone {}", message.zone);
  Zone zone = kAllZones[message.zone];
  BackedChunks* chunks = chunks_[Index(zone)].get();
  if (chunks == nullptr)
    return InvalidArgument("DATA about {} memory, of which there is none", ZoneName(zone));
  auto text = bytes.subspan(sizeof message);
  switch (message.type) {
    case ChunkMessage::kWant: return OnWanted(zone, message.first, message.count);
    case ChunkMessage::kBacked: return chunks->OnBacked(message.first, message.count);
    case ChunkMessage::kRefused:
      return chunks->OnRefused(
          message.first, message.count,
          fmt::format("rank {} has no memory for it: {}", options_.peer.rank,
                      Printable(std::string_view(reinterpret_cast<const char*>(text.data()),
                                                 text.size()))));
    default: return InvalidArgument("DATA of unknown type {}", message.type);
  }
}

Status MappedLink::OnWanted(Zone zone, std::uint64_t first, std::uint64_t count) {
  const Segment* segment = options_.own_segments[Index(zone)];
  std::uint64_t chunks =
      segment == nullptr ? 0 : segment->allocated_bytes() / BackedChunks::kChunkBytes;
  if (count == 0 || count > chunks || first > chunks - count)
    return InvalidArgument("it wants memory for {} chunks from {} on, and there are {}", count,
                           first, chunks);
  if (wanted_.size() == kMaxWanted)
    return InvalidArgument("it wants memory in {} places at once", kMaxWanted);
  if (segment->backed()) {
    options_.socket->Send(Encode(
        {ChunkMessage::kBacked, Index(zone), 0, segment->max_bytes() / BackedChunks::kChunkBytes}));
    return Ok();
  }
  wanted_.push_back({zone, first, first + count});
  if (wanted_.size() == 1) BackLater();
  return Ok();
}

void MappedLink::BackLater(std::chrono::milliseconds wait) {
  auto work = [self = weak_from_this()] {
    if (auto link = self.lock()) link->BackOne();
  };
  if (wait.count() == 0) return options_.reactor->Post(work);
  options_.reactor->CallAt(std::chrono::steady_clock::now() + wait, work);
}

void MappedLink::BackOne() {
  // Once it is down, the segments may be gone.
  if (down_.load(std::memory_order_relaxed)) return;
  // Whoever is stopped meanwhile reads first, and is answered then.
  if (options_.socket->waiting_packets() > kMaxUnread) return BackLater(kUnreadPause);
  Wanted wanted = wanted_.front();
  wanted_.pop_front();
  Status backed = options_.own_segments[Index(wanted.zone)]->Back(
      wanted.next * BackedChunks::kChunkBytes, BackedChunks::kChunkBytes);
  if (!IsOutOfMemory(backed)) {  // what the kernel can't do so is done by touching
    options_.socket->Send(Encode({ChunkMessage::kBacked, Index(wanted.zone), wanted.next, 1}));
    if (++wanted.next < wanted.end) wanted_.push_back(wanted);  // others in turn
  } else {
    options_.socket->Send(
        Encode({ChunkMessage::kRefused, Index(wanted.zone), wanted.next, wanted.end - wanted.next},
               backed.message()));
  }
  if (!wanted_.empty()) BackLater();
}

void MappedLink::MarkDown(const Status& why) {
  {
    std::lock_guard lock(mutex_);
    if (down_.load(std::memory_order_relaxed)) return;
    why_ = why;
    down_.store(true, std::memory_order_release);
  }
  for (const auto& chunks : chunks_)
    if (chunks != nullptr) chunks->End();
}

Status MappedLink::DownStatus() const {
  std::lock_guard lock(mutex_);
  return why_;
}

}  // namespace memfabric::transport
