// copy/counters.h: what has gone to and from each rank, by the path it took. They only grow, over
// all lives of a rank.
//
// A copy counts at each rank of the pool whose memory it read or wrote, once it is in place. Mapped
// copies are counted in stripes, a thread in its own, because an 8-byte copy takes no longer than a
// contended cache line; the rest under a mutex.
//
// Owner: copy::Reach. Threads: any.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "address/global_address.h"
#include "base/mutex.h"
#include "base/thread_stripe.h"

namespace memfabric::copy {

// The path of loads and stores, and the path of copies whose rank could not be reached at all.
constexpr std::string_view kMappedPath = "mapped", kNoPath = "none";

struct PathCounts {
  std::uint64_t bytes = 0;
  // copies and elements of batches; one that spans slots counts at each rank
  std::uint64_t operations = 0;
  std::uint64_t errors = 0;   // tries that ended because the rank could not be reached
  std::uint64_t retries = 0;  // tries to link the rank again
};

struct RankCounts {
  Rank rank;
  std::string path;
  PathCounts counts;
};

class Counters {
 public:
  explicit Counters(std::uint32_t ranks);

  void AddMapped(Rank rank, std::uint64_t bytes, std::uint64_t operations) {
    Cell& cell = stripes_[StripeOfThread<kStripeBits>()][rank];
    cell.bytes.fetch_add(bytes, std::memory_order_relaxed);
    cell.operations.fetch_add(operations, std::memory_order_relaxed);
  }
  void Add(Rank rank, std::string_view path, const PathCounts& more);

  // What isn't 0, by rank and path; not one moment's, when others count meanwhile.
  std::vector<RankCounts> Read() const;

 private:
  static constexpr unsigned kStripeBits = 3;
  struct Cell {
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<std::uint64_t> operations{0};
  };

  const std::uint32_t ranks_;
  std::array<std::unique_ptr<Cell[]>, 1U << kStripeBits> stripes_;  // [rank]
  mutable Mutex mutex_;
  std::map<std::pair<Rank, std::string>, PathCounts, std::less<>> others_ GUARDED_BY(mutex_);
};

// Counts mapped pieces of one copy or batch: those of one rank in a row at once.
class MappedTally {
 public:
  explicit MappedTally(Counters& counters) : counters_(counters) {}
  ~MappedTally() { Flush(); }
  MappedTally(const MappedTally&) = delete;
  MappedTally& operator=(const MappedTally&) = delete;

  void Add(Rank rank, std::uint64_t bytes, std::uint64_t operations) {
    if (rank != rank_) {
      Flush();
      rank_ = rank;
    }
    bytes_ += bytes;
    operations_ += operations;
  }

 private:
  void Flush() {
    if (rank_ != kNoRank)
      counters_.AddMapped(rank_, std::exchange(bytes_, 0), std::exchange(operations_, 0));
  }

  Counters& counters_;
  Rank rank_ = kNoRank;
  std::uint64_t bytes_ = 0;
  std::uint64_t operations_ = 0;
};

}  // namespace memfabric::copy
