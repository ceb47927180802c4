// copy/resolver.h: from an address and a size to memory that may be touched, or to the reason why
// not.
//
// Owner: the engine. Threads: any. Fast takes no lock and allocates nothing; Resolve does when a
// rank is behind a link or when it fails.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "address/pool_layout.h"
#include "base/status.h"
#include "copy/direction.h"
#include "copy/reach.h"
#include "copy/slot_finder.h"

namespace memfabric::copy {

struct CopyRequest {
  std::uint64_t source = 0;
  std::uint64_t destination = 0;
  std::uint64_t size_bytes = 0;
};

// InvalidArgument: an address is null, or the size 0.
Status CheckNotNull(const CopyRequest& request);

// One side of a copy after its checks.
struct Side {
  // to all of it, when loads and stores reach all of it; else null
  std::byte* pointer = nullptr;
  // from the window's begin, when it lies in the pool; none: memory of this process
  std::optional<std::uint64_t> window_offset;
};

// What is at one place of a side, up to the edge of its slot.
struct Spot {
  std::byte* pointer = nullptr;           // null: only the link reaches it
  std::shared_ptr<transport::Link> link;  // null: loads and stores reach it
  Zone zone = Zone::kHost;
  std::uint64_t slot_offset = 0;
  std::uint64_t size_bytes = 0;
};

class Resolver {
 public:
  explicit Resolver(const Reach& reach);

  // Where the whole range can be had by loads and stores, if it is that simple: user memory, or
  // inside one slot. pointer null: ask Resolve. REQUIRES: 0 < size_bytes < 2^47.
  struct Simple {
    std::byte* pointer = nullptr;
    Rank rank = kNoRank;  // whose slot; kNoRank: memory of this process
    bool in_pool() const { return rank != kNoRank; }
  };
  Simple Fast(std::uint64_t address, std::uint64_t size_bytes, SideRule rule) const {
    std::uint64_t offset = address - base_;
    if (offset < window_bytes_) {
      SlotOffset slot = finder_.Find(offset);
      if (rule == SideRule::kHostPool && slot.zone != Zone::kHost) return {};
      std::uint64_t bytes = reach_.MappedBytes(slot.zone, slot.rank);
      if (bytes < size_bytes || slot.offset > bytes - size_bytes) return {};
      if (!reach_.Backed(slot.zone, slot.rank, slot.offset, size_bytes)) return {};
      return {local_base_ + offset, slot.rank};
    }
    if (rule != SideRule::kAny || !same_address_) return {};
    if (address == 0 || address >= kUserEnd - size_bytes ||
        (address < base_ && base_ - address < size_bytes))
      return {};
    return {reinterpret_cast<std::byte*>(address), kNoRank};
  }

  // Every check of docs/contract/python.md §2's table, with its message. `source` and `destination`
  // change only on success.
  Status Resolve(const CopyRequest& request, Direction direction, Side& source,
                 Side& destination) const;

  // What lies at `position` of a side, at most `size_bytes` of it. With `backward` what ends there
  // instead. Asks again who can be reached: Disconnected when that has changed since the checks.
  // REQUIRES: the side is resolved, the bytes are in it.
  Status Locate(const Side& side, std::uint64_t position, std::uint64_t size_bytes, bool backward,
                Spot& spot) const;

  // Before plain instructions touch a part of a side that Resolve gave: see Reach::Obtain. What
  // Fast gives needs none.
  Status Obtain(const Side& side, std::uint64_t position, std::uint64_t size_bytes) const;
  // The same by an address of this process; nothing outside the window.
  Status Obtain(std::uint64_t local_address, std::uint64_t size_bytes) const;

  // Counts a range that loads and stores have read or written, at the ranks it lies in: one
  // operation each. Memory of this process isn't counted. With `begins` false the range is the rest
  // of one that was counted before.
  void Count(std::uint64_t address, std::uint64_t size_bytes, bool begins,
             MappedTally& tally) const;
  // The same for a part of a resolved side.
  void Count(const Side& side, std::uint64_t position, std::uint64_t size_bytes,
             MappedTally& tally) const;

 private:
  // One past the highest address that a process has unless it asks for more. A range that goes
  // beyond is no memory.
  static constexpr std::uint64_t kUserEnd = 1ULL << 48;

  Status ResolveSide(std::string_view name, std::uint64_t address, std::uint64_t size_bytes,
                     SideRule rule, Side& side) const;
  Status ResolveSlots(std::string_view name, std::uint64_t address, std::uint64_t offset,
                      std::uint64_t size_bytes, Side& side) const;
  // The address's offset in the window, by global address, or by this process's own where `rule`
  // allows it.
  std::optional<std::uint64_t> OffsetOf(std::uint64_t address, SideRule rule) const;
  // Why the rank can't be reached, naming it; counted. Ok when it can.
  Status Unreachable(Rank rank) const;
  Status ObtainSlots(std::uint64_t offset, std::uint64_t size_bytes) const;
  void CountSlots(std::uint64_t offset, std::uint64_t size_bytes, bool begins,
                  MappedTally& tally) const;
  Status NotInPool(std::string_view name, std::uint64_t address) const;

  const Reach& reach_;
  SlotFinder finder_;
  std::uint64_t base_;
  std::uint64_t window_bytes_;
  std::byte* local_base_;
  bool same_address_;  // global addresses are usable here as they are
};

}  // namespace memfabric::copy
