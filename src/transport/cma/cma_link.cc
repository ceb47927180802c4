#include "transport/cma/cma_link.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <thread>

#include "base/wait.h"
#include "memory/bounce.h"
#include "memory/kernels.h"
#include "transport/cma/block_message.h"
#include "transport/shared_file.h"

namespace memfabric::transport {
namespace {

using registered::Range;
using std::chrono::steady_clock;

constexpr std::size_t kMostIovecs = 1024;  // IOV_MAX: what one call takes of each side
static_assert(kMostIovecs <= IOV_MAX);
constexpr std::size_t kRoundPieces = 1024;     // whose ranges are looked up at one moment
constexpr std::size_t kRoundBytes = 64 << 20;  // then a deregistration that waits gets its turn
// Of a peer that is alive but stopped: in mid-change of its table, before it confirmed the link,
// before it sent a block.
constexpr std::chrono::seconds kPatience{2};
constexpr int kSpins = 256;

std::vector<std::byte> Encode(BlockMessage type, std::uint64_t id) {
  std::array<std::byte, kBlockMessageBytes> body;
  auto raw = static_cast<std::uint64_t>(type);
  std::memcpy(body.data(), &raw, 8);
  std::memcpy(body.data() + 8, &id, 8);
  return meeting::EncodeMessage(meeting::Data{body});
}

// iovecs of both sides of one system call; neighbours that touch are one.
struct Lists {
  std::array<iovec, kMostIovecs> local;
  std::array<iovec, kMostIovecs> remote;
  std::size_t local_count = 0;
  std::size_t remote_count = 0;

  bool full() const { return local_count == kMostIovecs || remote_count == kMostIovecs; }
  static void Add(std::array<iovec, kMostIovecs>& list, std::size_t& count, std::byte* address,
                  std::size_t size_bytes) {
    if (count > 0) {
      iovec& last = list[count - 1];
      if (static_cast<std::byte*>(last.iov_base) + last.iov_len == address) {
        last.iov_len += size_bytes;
        return;
      }
    }
    list[count++] = {address, size_bytes};
  }
};

}  // namespace

struct CmaLink::Round {
  std::span<const Piece> pieces;
  std::size_t first_offset;  // in the first piece: what came before is moved
  std::size_t last_bytes;    // of the last piece, from its begin or from first_offset
  std::array<Range, kRoundPieces>& ranges;

  Piece At(std::size_t i) const {
    Piece piece = pieces[i];
    if (i == 0) {
      piece.local += first_offset;
      piece.target += first_offset;
      piece.size_bytes -= first_offset;
    }
    if (i + 1 == pieces.size()) piece.size_bytes = last_bytes;
    return piece;
  }
};

CmaLink::CmaLink(const PeerContribution& contribution, pid_t pid,
                 std::unique_ptr<RegisteredView> view, Mapping in_flight, RegisteredTable& own,
                 std::shared_ptr<MessageSocket> socket, std::function<void()> on_end)
    : peer_{contribution.rank, contribution.epoch},
      process_(pid),
      view_(std::move(view)),
      own_(own),
      socket_(std::move(socket)),
      on_end_(std::move(on_end)) {
  const registered::Header& header = view_->header();
  const std::array<std::uint64_t, 3> expected{header.magic, header.nonce, header.address};
  attachable_ = process_.Probe(expected[2], std::as_bytes(std::span(expected)));
  admitted_ = std::make_shared<RegisteredTable::Peer>();
  admitted_->name = fmt::format("pid {}", pid);
  admitted_->in_flight = std::move(in_flight);
  admitted_->process = process_.DuplicateHandle();
  admitted_->on_block_gone = [socket = socket_](std::uint64_t block) {
    socket->Post(Encode(BlockMessage::kGone, block));
  };
  own_.Admit(admitted_);
}

Status CmaLink::Grow(const PeerContribution&) {
  return InvalidArgument("GROW where a table of registrations is shared");
}

Status CmaLink::AwaitConfirmed() {
  if (confirmed_.load(std::memory_order_acquire)) return Ok();
  std::unique_lock lock(mutex_);
  Status waited = WaitUntil(lock, changed_, steady_clock::now() + kPatience, [&] {
    return confirmed_.load() || down_.load(std::memory_order_relaxed);
  });
  if (IsDeadlineExceeded(waited))
    return Disconnected("pid {} doesn't answer (is it stopped?)", process_.pid());
  return waited;
}

Status CmaLink::Move(std::span<const Piece> pieces, bool put) {
  RETURN_IF_ERROR(AwaitConfirmed());
  std::array<Range, kRoundPieces> ranges;  // NOLINT: filled by Find
  std::size_t offset = 0;
  while (!pieces.empty()) {
    std::size_t bytes = 0;
    std::size_t count = 0;
    std::size_t last = 0;
    while (count < std::min(pieces.size(), kRoundPieces) && bytes < kRoundBytes) {
      last = std::min(pieces[count].size_bytes - (count == 0 ? offset : 0), kRoundBytes - bytes);
      bytes += last;
      ++count;
    }
    if (CallDeadline() != TimePoint::max() && steady_clock::now() >= CallDeadline())
      return DeadlineExceeded("the call's own time-out has passed; what was moved before stays");
    Round round{pieces.first(count), offset, last, ranges};
    RETURN_IF_ERROR(MoveRound(round, put));
    bool whole = (count == 1 ? offset : 0) + last == pieces[count - 1].size_bytes;
    offset = whole ? 0 : (count == 1 ? offset : 0) + last;
    pieces = pieces.subspan(whole ? count : count - 1);
  }
  return Ok();
}

Status CmaLink::Find(Round& round) const {
  Deadline give_up{};
  for (int tries = 0;; ++tries) {
    if (down_.load(std::memory_order_acquire)) return DownStatus();
    if (auto version = view_->BeginRead(); version.has_value()) {
      Range hint{};
      std::optional<Piece> missing;
      for (std::size_t i = 0; i < round.pieces.size() && !missing.has_value(); ++i) {
        Piece piece = round.At(i);
        if (!view_->Covers(piece.target, piece.size_bytes, &hint)) missing = piece;
        round.ranges[i] = hint;
      }
      if (view_->EndRead(*version)) {
        if (!missing.has_value()) return Ok();
        return InvalidArgument(
            "the peer has not registered [{:#x}, +{}) as a whole, or not any more", missing->target,
            missing->size_bytes);
      }
    }
    if (tries < kSpins) continue;
    if (tries == kSpins) give_up = steady_clock::now() + kPatience;
    if (steady_clock::now() >= give_up || InterruptRequested())
      return Disconnected(
          "pid {} has been changing its table of registrations for {} s (is it stopped?)",
          process_.pid(), kPatience.count());
    std::this_thread::yield();
  }
}

Status CmaLink::MoveRound(Round& round, bool put) {
  RegisteredView::Transfer counted(*view_);
  RETURN_IF_ERROR(Find(round));
  Lists lists;  // NOLINT: filled as it is used
  auto call = [&]() -> Status {
    if (lists.local_count == 0) return Ok();
    if (!process_.Alive()) return Disconnected("pid {} has ended", process_.pid());
    Status moved = process_.Move(std::span(lists.local).first(lists.local_count),
                                 std::span(lists.remote).first(lists.remote_count), put);
    lists.local_count = lists.remote_count = 0;
    return moved;
  };
  std::uint64_t block_id = 0;
  std::shared_ptr<const Mapping> block;
  for (std::size_t i = 0; i < round.pieces.size(); ++i) {
    const Piece piece = round.At(i);
    const Range& range = round.ranges[i];
    if (range.block != 0 && piece.target + piece.size_bytes <= range.end) {
      if (range.block != block_id) {
        block = BlockOf(range.block);
        block_id = range.block;
      }
      std::uint64_t offset = range.block_offset + (piece.target - range.begin);
      if (block != nullptr && offset <= block->size_bytes() &&
          piece.size_bytes <= block->size_bytes() - offset) {
        RETURN_IF_ERROR(call());  // in order
        if (piece.size_bytes >= kCheapCheckBytes)
          RETURN_IF_ERROR(CheckOwnMemory(piece.local, piece.size_bytes, !put));
        std::byte* there = block->data() + offset;
        put ? CopyBytes(there, piece.local, piece.size_bytes)
            : CopyBytes(piece.local, there, piece.size_bytes);
        continue;
      }
    }
    if (!attachable_.ok()) return attachable_;
    Lists::Add(lists.local, lists.local_count, piece.local, piece.size_bytes);
    Lists::Add(lists.remote, lists.remote_count, reinterpret_cast<std::byte*>(piece.target),
               piece.size_bytes);
    if (lists.full()) RETURN_IF_ERROR(call());
  }
  return call();
}

std::shared_ptr<const Mapping> CmaLink::BlockOf(std::uint64_t id) {
  std::unique_lock lock(mutex_);
  auto [found, fresh] = blocks_.try_emplace(id);
  if (found->second.answered) return found->second.mapping;
  if (fresh) socket_->Post(Encode(BlockMessage::kAsk, id));
  // Without an answer cma serves.
  Status waited = WaitUntil(lock, changed_, steady_clock::now() + kPatience, [&] {
    auto block = blocks_.find(id);
    return block == blocks_.end() || block->second.answered ||
           down_.load(std::memory_order_relaxed);
  });
  auto block = blocks_.find(id);
  return waited.ok() && block != blocks_.end() ? block->second.mapping : nullptr;
}

Status CmaLink::OnData(std::span<const std::byte> bytes, std::span<UniqueFd> files) {
  if (bytes.size() != kBlockMessageBytes)
    return InvalidArgument("DATA of {} bytes, not {}", bytes.size(), kBlockMessageBytes);
  std::uint64_t type;
  std::uint64_t id;
  std::memcpy(&type, bytes.data(), 8);
  std::memcpy(&id, bytes.data() + 8, 8);
  switch (static_cast<BlockMessage>(type)) {
    case BlockMessage::kAsk: {
      SharedBlockPtr block = own_.Block(id);
      if (block == nullptr) {
        socket_->Send(Encode(BlockMessage::kRefuse, id));
      } else {
        socket_->Send(Encode(BlockMessage::kGive, id), {block->file.get()}, block);
      }
      return Ok();
    }
    case BlockMessage::kGive:
    case BlockMessage::kRefuse: return OnBlock(id, files);
    case BlockMessage::kGone: {
      std::lock_guard lock(mutex_);
      blocks_.erase(id);
      changed_.notify_all();
      return Ok();
    }
  }
  return InvalidArgument("DATA of unknown type {}", type);
}

Status CmaLink::OnBlock(std::uint64_t id, std::span<UniqueFd> files) {
  std::shared_ptr<Mapping> mapping;
  struct stat info {};
  if (files.size() == 1 && ::fstat(files[0].get(), &info) == 0 && info.st_size > 0 &&
      CheckSharedFile(files[0].get(), static_cast<std::uint64_t>(info.st_size), false).ok()) {
    auto size_bytes = static_cast<std::size_t>(info.st_size);
    Mapping mapped = Mapping::Share(files[0].get(), size_bytes, PROT_READ | PROT_WRITE);
    if (mapped) mapping = std::make_shared<Mapping>(std::move(mapped));
  }
  std::lock_guard lock(mutex_);
  auto found = blocks_.find(id);
  if (found == blocks_.end()) return Ok();  // gone meanwhile
  if (found->second.answered) return InvalidArgument("a block that nobody asked for");
  found->second = {std::move(mapping), true};
  changed_.notify_all();
  return Ok();
}

void CmaLink::OnConfirmed() {
  std::lock_guard lock(mutex_);
  confirmed_ = true;
  changed_.notify_all();
}

void CmaLink::MarkDown(const Status& why) {
  {
    std::lock_guard lock(mutex_);
    if (down_.load(std::memory_order_relaxed)) return;
    why_ = why;
    down_.store(true, std::memory_order_release);
    changed_.notify_all();
  }
  own_.Forget(admitted_);
  on_end_();
}

Status CmaLink::DownStatus() const {
  std::lock_guard lock(mutex_);
  return why_;
}

}  // namespace memfabric::transport
