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
  // etcd's: 1.5 times its election timeout (1 s), in whole seconds. A shorter lease is made this
  // long.
  static constexpr std::int64_t kShortestSeconds = 2;
  static constexpr std::int64_t kLongestSeconds = 9'000'000'000;

  struct Lease {
    std::int64_t granted_seconds = 0;
    TimePoint end;
    TimePoint heard;      // when it was granted or last kept alive
    bool kept = false;    // kept alive since it was granted
    bool spared = false;  // has had its grace, and wasn't kept alive since
    std::set<std::string, std::less<>> keys;
  };

  explicit LeaseTable(std::uint64_t seed) : ids_(seed) {}

  // `id` 0: chosen here. kLeaseExists, kLeaseTooLong. On success *id and *seconds are what was
  // granted.
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

  // When one has ended and nearly all are silent (nothing heard for half of their time, though they
  // were kept alive before), the store was cut off and not its clients: the silent ones get kGrace
  // times their time, and end one after the other then. Once each, until it is heard again. Returns
  // how many.
  std::size_t SpareTheSilent(TimePoint now);
  // Once most are heard again, those that are still silent get their time, no more, and end one
  // after the other.
  void EndGrace(TimePoint now);

  // Fewer than this many, or a smaller share of silent ones, is a matter of the clients: hosts that
  // are gone.
  static constexpr std::size_t kFewestForGrace = 8;
  static constexpr double kShareForGrace = 0.75;
  // A client notices within 5 s that a cut has ended: its attempt to connect was backing off.
  static constexpr int kGrace = 3;

  void ExtendAll(std::chrono::nanoseconds by);

  std::vector<std::int64_t> Ids() const;  // the first to end first
  std::size_t size() const { return leases_.size(); }

 private:
  struct Silence {
    std::size_t kept = 0;              // leases that were kept alive
    std::vector<std::int64_t> silent;  // those of them, the first to end first
  };
  Silence Listen(TimePoint now) const;
  void SetEnd(std::int64_t id, Lease& lease, TimePoint end);

  std::unordered_map<std::int64_t, Lease> leases_;
  std::set<std::pair<TimePoint, std::int64_t>> by_end_;
  bool sparing_ = false;  // some have grace, and most aren't heard again yet
  std::mt19937_64 ids_;
};

}  // namespace memfabric::store
