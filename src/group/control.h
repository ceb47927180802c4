// group/control.h: the memory that ranks of a group meet in: one Control a rank, at the begin of
// its slot, which all members on its host have mapped and the others reach by Link::Put and Get.
//
// Each field says who writes it. A rank waits only for memory of its own, but for Channel::released
// and, on one host, arrivals. A peer may write rubbish anywhere: numbers here are compared and
// counted, never followed.
//
// Memory order: whoever publishes stores the sequence last, sequentially consistent, and then looks
// at the doorbell; whoever waits counts itself at its doorbell and then looks at the sequence. So
// one of the two sees the other. Sequences count a channel's operations from 1 and never start
// over.

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "address/global_address.h"
#include "base/units.h"

namespace memfabric::group {

constexpr std::size_t kLineBytes = 64;
constexpr unsigned kRounds = 10;  // of a barrier: 2^10 ranks
static_assert((1u << kRounds) >= kMaxWorldSize);
// docs/contract/python.md §3: what a rank may give to an all-gather
constexpr std::uint64_t kMaxBlockBytes = 64_KiB;

constexpr std::uint64_t kSmallBlockBytes = 48;  // of those, what fits into the line of an arrival

using Cell = std::atomic<std::uint64_t>;
static_assert(Cell::is_always_lock_free && sizeof(Cell) == sizeof(std::uint64_t));

// Where a process sleeps until somebody has written something for it.
struct alignas(kLineBytes) Doorbell {
  std::atomic<std::uint32_t> rings;     // by whoever has written, if there are sleepers; the futex
  std::atomic<std::uint32_t> sleepers;  // by the owner's threads
};

// "I have got to operation `sequence`." By one peer. Bytes of a put may arrive one by one, so
// `check` is the complement: while one of the two is torn the other is whole, and they don't match.
struct alignas(kLineBytes) Flag {
  Cell sequence;
  Cell check;

  void Raise(std::uint64_t to) {
    check.store(~to, std::memory_order_relaxed);
    sequence.store(to, std::memory_order_seq_cst);
  }
  bool Reached(std::uint64_t wanted) const {
    std::uint64_t now = sequence.load(std::memory_order_seq_cst);
    return now >= wanted && check.load(std::memory_order_relaxed) == ~now;
  }
};

// What the owner does in operation `sequence`; stands until its operation `sequence` + 2 begins.
struct alignas(kLineBytes) Arrival {
  Cell sequence;
  // what the operation is: all members must be in the same
  Cell signature;
  // what it gives to an all-gather on one host, if it fits
  std::array<std::byte, kSmallBlockBytes> block;
};
static_assert(sizeof(Arrival) == kLineBytes);

struct alignas(kLineBytes) Line {
  Cell value;
};

// One group's.
struct Channel {
  std::array<Arrival, 2> arrivals;  // by the owner; operations alternate
  // by the owner: the last operation in which it has met the others,
  Line completed;
  Line finished;  // and the last of which it needs nothing from them any more
  // in the first member's (of its host), by others: arrivals in all operations together
  Line arrived;
  // in the same one's, by whoever arrives last, or by itself where there are other hosts
  Line released;
  std::array<Flag, kRounds> flags;  // one peer each
  // by the owner, as arrivals; see kPlaces
  alignas(kLineBytes) std::array<std::array<std::byte, kMaxBlockBytes>, 2> blocks;
};

// the object's own, which is the first, and those of its sub-groups
constexpr std::size_t kChannels = 46;
// Where the object's own operations put their blocks, in turn. To write a line that a peer's
// second-level cache still holds takes several times as long as to write one that has sunk to the
// cache they share, so a place comes back late: 24 of the largest blocks of two ranks are more than
// two such caches (1 MiB each where this was measured).
constexpr std::size_t kPlaces = 24;
constexpr std::size_t kValues = 1024;

struct Control {
  Doorbell doorbell;  // for operations of groups
  // for waits on the user's cells: who changes one must not wake whoever is in a barrier
  Doorbell cell_doorbell;
  std::array<Cell, kValues> owners;  // in rank 0's, by all: who has a number (shm/values.h)
  alignas(4_KiB) std::array<Channel, kChannels> channels;
  // by the owner, of the first channel instead of its own
  std::array<std::array<std::byte, kMaxBlockBytes>, kPlaces> blocks;
};

constexpr std::uint64_t kControlBytes = 8_MiB;
static_assert(sizeof(Control) <= kControlBytes);

// Where a channel stands in every Control.
constexpr std::uint64_t ChannelOffset(std::uint32_t channel) {
  return offsetof(Control, channels) + channel * sizeof(Channel);
}

}  // namespace memfabric::group
