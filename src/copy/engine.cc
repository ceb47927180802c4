#include "copy/engine.h"

#include <algorithm>

#include "copy/link_mover.h"
#include "copy/relay.h"
#include "copy/thread_team.h"
#include "copy/through_links.h"
#include "memory/bounce.h"
#include "memory/kernels.h"

namespace memfabric::copy {
namespace {

// What one piece of a link carries at most; longer ranges are several.
constexpr std::uint64_t kMaxPieceBytes = 256 << 20;

std::uint64_t Distance(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : b - a; }

// A fault would end the process; an error is better, where finding out costs next to nothing.
Status CheckLarge(const std::byte* destination, const std::byte* source, std::uint64_t size_bytes) {
  if (size_bytes < kCheapCheckBytes) return Ok();
  if (Status read = CheckOwnMemory(source, size_bytes, false); !read.ok())
    return read.WithContext("source");
  if (Status written = CheckOwnMemory(destination, size_bytes, true); !written.ok())
    return written.WithContext("destination");
  return Ok();
}

// What lies at `position` of both sides, equally long.
Status LocateBoth(const Resolver& resolver, const Side& source, const Side& destination,
                  std::uint64_t position, std::uint64_t size_bytes, bool backward, Spot& from,
                  Spot& to) {
  do {
    RETURN_IF_ERROR(resolver.Locate(source, position, size_bytes, backward, from));
    RETURN_IF_ERROR(resolver.Locate(destination, position, from.size_bytes, backward, to));
    size_bytes = to.size_bytes;
    if (from.link != nullptr || to.link != nullptr)
      size_bytes = std::min(size_bytes, kMaxPieceBytes);
    if (from.link != nullptr && to.link != nullptr)
      size_bytes = std::min<std::uint64_t>(size_bytes, Relay::kPieceBytes);
  } while (from.size_bytes != size_bytes || to.size_bytes != size_bytes);
  return Ok();
}

}  // namespace

CopyEngine::CopyEngine(const Reach& reach, ThreadTeam* team, std::chrono::nanoseconds flush_timeout)
    : reach_(reach), resolver_(reach), team_(team), flush_timeout_(flush_timeout) {}

Status CopyEngine::Copy(const CopyRequest& request, Direction direction) const {
  // The hot path: two addresses, each a compare, a multiplication and a load away from its pointer.
  if (request.size_bytes - 1 < kParallelBytes - 1 &&
      static_cast<std::uint32_t>(direction) < kDirections) [[likely]] {
    DirectionRules rules = RulesOf(direction);
    Resolver::Simple source = resolver_.Fast(request.source, request.size_bytes, rules.source);
    Resolver::Simple destination =
        resolver_.Fast(request.destination, request.size_bytes, rules.destination);
    if (source.pointer != nullptr && destination.pointer != nullptr &&
        (source.in_pool() || destination.in_pool())) [[likely]] {
      CopyBytes(destination.pointer, source.pointer, request.size_bytes);
      if (source.in_pool()) reach_.counters().AddMapped(source.rank, request.size_bytes, 1);
      if (destination.in_pool())
        reach_.counters().AddMapped(destination.rank, request.size_bytes, 1);
      return Ok();
    }
  }
  Side source;
  Side destination;
  RETURN_IF_ERROR(resolver_.Resolve(request, direction, source, destination));
  if (source.pointer != nullptr && destination.pointer != nullptr) {
    RETURN_IF_ERROR(resolver_.Obtain(source, 0, request.size_bytes));
    RETURN_IF_ERROR(resolver_.Obtain(destination, 0, request.size_bytes));
    RETURN_IF_ERROR(CheckLarge(destination.pointer, source.pointer, request.size_bytes));
    CopyMapped(destination.pointer, source.pointer, request.size_bytes);
    MappedTally tally(reach_.counters());
    resolver_.Count(source, 0, request.size_bytes, tally);
    resolver_.Count(destination, 0, request.size_bytes, tally);
    return Ok();
  }
  return ThroughLinks(reach_, flush_timeout_, [&](LinkMover& mover, Relay& relay) {
    return CopyResolved(source, destination, request.size_bytes, mover, relay);
  });
}

Status CopyEngine::Check(const CopyRequest& request, Direction direction) const {
  Side source;
  Side destination;
  return resolver_.Resolve(request, direction, source, destination);
}

Status CopyEngine::CopyResolved(const Side& source, const Side& destination,
                                std::uint64_t size_bytes, LinkMover& mover, Relay& relay) const {
  MappedTally tally(reach_.counters());
  if (source.pointer != nullptr && destination.pointer != nullptr) {
    RETURN_IF_ERROR(resolver_.Obtain(source, 0, size_bytes));
    RETURN_IF_ERROR(resolver_.Obtain(destination, 0, size_bytes));
    RETURN_IF_ERROR(CheckLarge(destination.pointer, source.pointer, size_bytes));
    CopyMapped(destination.pointer, source.pointer, size_bytes);
    resolver_.Count(source, 0, size_bytes, tally);
    resolver_.Count(destination, 0, size_bytes, tally);
    return Ok();
  }
  // As memmove: what is read later must not be written earlier.
  bool overlap = source.window_offset && destination.window_offset &&
                 Distance(*source.window_offset, *destination.window_offset) < size_bytes;
  bool backward = overlap && *destination.window_offset > *source.window_offset;
  for (std::uint64_t left = size_bytes; left > 0;) {
    Spot from;
    Spot to;
    std::uint64_t at = backward ? left : size_bytes - left;
    RETURN_IF_ERROR(LocateBoth(resolver_, source, destination, at, left, backward, from, to));
    std::uint64_t begin = backward ? at - from.size_bytes : at;
    if (from.link == nullptr) RETURN_IF_ERROR(resolver_.Obtain(source, begin, from.size_bytes));
    if (to.link == nullptr) RETURN_IF_ERROR(resolver_.Obtain(destination, begin, to.size_bytes));
    if (from.link != nullptr && to.link != nullptr) {
      RETURN_IF_ERROR(relay.Move(from, to, from.size_bytes));
    } else if (from.link != nullptr) {
      RETURN_IF_ERROR(
          mover.Get(from.link, from.zone, {to.pointer, from.slot_offset, from.size_bytes}));
    } else if (to.link != nullptr) {
      RETURN_IF_ERROR(mover.Put(to.link, to.zone, {from.pointer, to.slot_offset, to.size_bytes}));
    } else {
      RETURN_IF_ERROR(CheckLarge(to.pointer, from.pointer, from.size_bytes));
      CopyMapped(to.pointer, from.pointer, from.size_bytes);
    }
    if (overlap) {
      RETURN_IF_ERROR(mover.Flush());
      RETURN_IF_ERROR(relay.Finish());
    }
    if (from.link == nullptr) resolver_.Count(source, begin, from.size_bytes, tally);
    if (to.link == nullptr) resolver_.Count(destination, begin, from.size_bytes, tally);
    left -= from.size_bytes;
  }
  return Ok();
}

void CopyEngine::CopyMapped(std::byte* destination, const std::byte* source,
                            std::uint64_t size_bytes) const {
  if (size_bytes < kParallelBytes || Overlap(destination, source, size_bytes) || team_ == nullptr ||
      team_->helpers() == 0) {
    CopyBytes(destination, source, size_bytes);
    return;
  }
  bool stream = size_bytes >= StreamingThreshold();
  std::uint64_t parts = (size_bytes + kPartBytes - 1) / kPartBytes;
  auto copy_part = [&](std::size_t part) {
    std::uint64_t begin = part * kPartBytes;
    std::uint64_t bytes = std::min(kPartBytes, size_bytes - begin);
    stream ? StreamingCopy(destination + begin, source + begin, bytes)
           : CopyBytes(destination + begin, source + begin, bytes);
  };
  team_->Run(parts, std::ref(copy_part));
}

}  // namespace memfabric::copy
