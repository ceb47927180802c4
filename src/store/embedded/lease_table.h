// store/embedded/lease_table.h: leases, when they end, and the keys that end with them.
//
// Deleting those keys is the caller's work. Nothing here looks at a clock: time is passed in.
//
// Owner: State. Threads: one at a time.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "store/embedded/refusal.h"

namespace memfabric::store {

class LeaseTable {
 public:
  // etcd's: 1.5 times its election timeout (1 s), in whole seconds. A shorter lease is made this long.
  static constexpr std::int64_t kShortestSeconds = 2;
  static constexpr std::int64_t kLongestSeconds = 9'000'000'000;

  struct Lease {
    std::int64_t granted_seconds = 0;
    TimePoint end;
    std::set<std::string, std::less<>> keys;
  };

  explicit LeaseTable(std::uint64_t seed) : ids_(seed) {}

  // `id` 0: chosen here. kLeaseExists, kLeaseTooLong. On success *id and *seconds are what was granted.
  Refusal Grant(std::int64_t* id, std::int64_t* seconds, TimePoint now);
  // Null: there is none.
  const Lease* Find(std::int64_t id) const;
  // Begins the lease's time anew; null when there is none.
  const Lease* KeepAlive(std::int64_t id, TimePoint now);
  // The keys it held. Nullopt: there is none.
  std::optional<std::set<std::string, std::less<>>> Remove(std::int64_t id);

  // REQUIRES of Attach: Find(id).
  void Attach(std::int64_t id, std::string_view key);
  void Detach(std::int64_t id, std::string_view key);

  std::optional<TimePoint> NextEnd() const;
  std::vector<std::int64_t> Ended(TimePoint now) const;
  void ExtendAll(std::chrono::nanoseconds by);

  std::vector<std::int64_t> Ids() const;  // the first to end first
  std::size_t size() const { return leases_.size(); }

 private:
  std::unordered_map<std::int64_t, Lease> leases_;
  std::set<std::pair<TimePoint, std::int64_t>> by_end_;
  std::mt19937_64 ids_;
};

}  // namespace memfabric::store
