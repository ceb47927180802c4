#include "copy/test_pool.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "base/log.h"

namespace memfabric::copy {

LinkDouble::LinkDouble(Rank rank, const transport::ZoneBytes& allocated, std::size_t max_pieces)
    : rank_(rank), allocated_(allocated), max_pieces_(max_pieces) {
  for (Zone zone : kAllZones) memory_[Index(zone)].resize(allocated[Index(zone)]);
}

Status LinkDouble::Put(Zone zone, std::span<const transport::Piece> pieces) {
  return Start(true, zone, pieces);
}
Status LinkDouble::Get(Zone zone, std::span<const transport::Piece> pieces) {
  return Start(false, zone, pieces);
}

Status LinkDouble::Start(bool put, Zone zone, std::span<const transport::Piece> pieces) {
  CHECK(!pieces.empty() && pieces.size() <= max_pieces_);
  std::lock_guard lock(mutex_);
  if (requests_++ >= fail_from_) return request_error_;
  for (const transport::Piece& piece : pieces) {
    std::uint64_t allocated = allocated_[Index(zone)];
    CHECK(piece.size_bytes > 0);
    if (piece.target > allocated || piece.size_bytes > allocated - piece.target) {
      return InvalidArgument("piece of {} bytes at {} leaves {}", piece.size_bytes, piece.target,
                             allocated);
    }
  }
  for (const transport::Piece& piece : pieces)
    pending_[std::this_thread::get_id()].push_back({put, zone, piece});
  return Ok();
}

Status LinkDouble::Flush(Bound) {
  std::lock_guard lock(mutex_);
  ++flushes_;
  if (!flush_error_.ok()) return flush_error_;
  for (const Pending& request : std::exchange(pending_[std::this_thread::get_id()], {})) {
    std::byte* remote = memory(request.zone) + request.piece.target;
    if (request.put) {
      std::memcpy(remote, request.piece.local, request.piece.size_bytes);
    } else {
      std::memcpy(request.piece.local, remote, request.piece.size_bytes);
    }
  }
  return Ok();
}

std::size_t LinkDouble::unflushed() {
  std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (const auto& [thread, requests] : pending_) count += requests.size();
  return count;
}

void LinkDouble::FailRequestsFrom(std::size_t n, Status status) {
  std::lock_guard lock(mutex_);
  fail_from_ = requests_ + n;
  request_error_ = std::move(status);
}

void LinkDouble::FailFlushes(Status status) {
  std::lock_guard lock(mutex_);
  flush_error_ = std::move(status);
}

TestPool::TestPool(const TestPoolOptions& options) : options_(options) {
  layout_.world_size = static_cast<std::uint32_t>(options.members.size());
  layout_.max_bytes = options.max_bytes;
  void* window = mmap(nullptr, layout_.WindowBytes(), PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(window != MAP_FAILED);
  window_ = Mapping(window, layout_.WindowBytes());
  layout_.base = options.numbers_only ? 1ULL << 50 : AddressOf(window);
  reach_ = std::make_unique<Reach>(layout_, window_.data());
  for (Rank rank = 0; rank < layout_.world_size; ++rank) {
    const Member& member = options.members[rank];
    if (member.by == By::kMapped) {
      for (Zone zone : kAllZones) {
        std::uint64_t bytes = member.bytes[Index(zone)];
        if (bytes == 0) continue;
        CHECK(mprotect(window_.data() + layout_.SlotBegin(zone, rank), bytes,
                       PROT_READ | PROT_WRITE) == 0);
      }
      reach_->SetMapped(rank, member.bytes);
    } else if (member.by == By::kLink) {
      links_[rank] = std::make_shared<LinkDouble>(rank, member.bytes, member.max_pieces);
      reach_->SetLink(rank, links_[rank]);
    }
  }
}

std::byte* TestPool::Memory(Zone zone, Rank rank) {
  return options_.members[rank].by == By::kLink ? links_[rank]->memory(zone)
                                                : local_base() + layout_.SlotBegin(zone, rank);
}

void TestPool::Fill(unsigned seed) {
  for (Rank rank = 0; rank < layout_.world_size; ++rank) {
    for (Zone zone : kAllZones) {
      std::vector<std::byte> bytes = RandomBytes(options_.members[rank].bytes[Index(zone)], seed++);
      if (!bytes.empty()) std::memcpy(Memory(zone, rank), bytes.data(), bytes.size());
    }
  }
}

std::vector<std::byte> RandomBytes(std::size_t size_bytes, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size_bytes);
  std::size_t at = 0;
  for (; at + 8 <= size_bytes; at += 8) {
    std::uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, 8);
  }
  for (; at < size_bytes; ++at) bytes[at] = static_cast<std::byte>(random());
  return bytes;
}

TestPoolOptions MixedPool() {
  return {.max_bytes = {4_MiB, 6_MiB},
          .members = {{By::kMapped, {4_MiB, 6_MiB}},
                      {By::kMapped, {4_MiB, 6_MiB}},
                      {By::kMapped, {2_MiB, 2_MiB}},
                      {By::kLink, {4_MiB, 6_MiB}},
                      {By::kLink, {0, 2_MiB}},
                      {By::kAbsent, {}}},
          .numbers_only = false};
}

}  // namespace memfabric::copy
