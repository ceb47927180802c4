// memory/registered_layout.h: a table of registrations as it lies in memory that processes of one
// host share. Two files:
//
// * The table, written by the owner of the memory alone (it is sealed against others' writing) and
//   mapped read-only by peers: Header, then ranges by address. A range that was deregistered stays
//   as an empty one (end == begin) until others come.
// * For each peer a page that the peer alone writes: how many of its transfers are in flight. Its
//   owner only reads it.
//
// How a peer moves bytes: it reads `generation`, adds itself to inside[generation & 1] and reads
// `generation` again (changed: it takes itself off and starts over); finds its ranges; copies;
// takes itself off. How the owner takes a range away: it empties the range, raises `generation`,
// and waits until the count of the former parity is 0 at each peer. All of it sequentially
// consistent, so a peer either saw the table without the range, or is waited for (base/read_gate.h
// has the argument). How a peer finds ranges while the owner changes them: `version` is odd
// meanwhile; what was read counts if it was even and the same before and after.

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.h"

namespace memfabric::registered {

constexpr std::uint64_t kMaxRanges = 1 << 20;  // docs/contract/python.md §4
constexpr std::uint64_t kMagic = 0x3162'6174'6765'7266;

struct Header {
  std::uint64_t magic;
  // random: by it and `address` a peer sees that a pid is the process it means
  std::uint64_t nonce;
  std::uint64_t address;  // of this header in the owner's address space
  std::atomic<std::uint64_t> generation;
  std::atomic<std::uint64_t> version;
  std::atomic<std::uint64_t> count;  // of ranges, empty ones included
};

struct Range {
  std::uint64_t begin;
  std::uint64_t end;
  std::uint64_t block;         // id of the shared block that it lies in, 0 for other memory
  std::uint64_t block_offset;  // of `begin` in that
};

struct InFlight {
  std::array<std::atomic<std::uint64_t>, 2> inside;
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

constexpr std::uint64_t kRangesOffset = 4096;
// Multiples of 2 MiB, as what members send to each other is; sparse.
constexpr std::uint64_t kTableBytes =
    (kRangesOffset + kMaxRanges * sizeof(Range) + kHugePageBytes - 1) / kHugePageBytes *
    kHugePageBytes;
constexpr std::uint64_t kInFlightBytes = kHugePageBytes;
static_assert(sizeof(Header) <= kRangesOffset && sizeof(InFlight) <= 4096);

}  // namespace memfabric::registered
