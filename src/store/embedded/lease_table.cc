#include "store/embedded/lease_table.h"

#include <algorithm>

namespace memfabric::store {

Refusal LeaseTable::Grant(std::int64_t* id, std::int64_t* seconds, TimePoint now) {
  if (*seconds > kLongestSeconds) return &kLeaseTooLong;
  std::int64_t chosen = *id;
  while (chosen == 0 || (*id == 0 && leases_.contains(chosen)))
    chosen = static_cast<std::int64_t>(ids_() >> 1);
  if (leases_.contains(chosen)) return &kLeaseExists;
  const std::int64_t granted = std::max(*seconds, kShortestSeconds);
  const TimePoint end = now + std::chrono::seconds(granted);
  leases_[chosen] = {.granted_seconds = granted, .end = end, .heard = now, .keys = {}};
  by_end_.emplace(end, chosen);
  *id = chosen;
  *seconds = granted;
  return nullptr;
}

const LeaseTable::Lease* LeaseTable::Find(std::int64_t id) const {
  auto found = leases_.find(id);
  return found == leases_.end() ? nullptr : &found->second;
}

const LeaseTable::Lease* LeaseTable::KeepAlive(std::int64_t id, TimePoint now) {
  auto found = leases_.find(id);
  if (found == leases_.end()) return nullptr;
  Lease& lease = found->second;
  lease.heard = now;
  lease.kept = true;
  lease.spared = false;
  SetEnd(id, lease, now + std::chrono::seconds(lease.granted_seconds));
  return &lease;
}

std::optional<std::set<std::string, std::less<>>> LeaseTable::Remove(std::int64_t id) {
  auto found = leases_.find(id);
  if (found == leases_.end()) return std::nullopt;
  by_end_.erase({found->second.end, id});
  auto keys = std::move(found->second.keys);
  leases_.erase(found);
  return keys;
}

void LeaseTable::Attach(std::int64_t id, std::string_view key) { leases_.at(id).keys.emplace(key); }

void LeaseTable::Detach(std::int64_t id, std::string_view key) {
  auto found = leases_.find(id);
  if (found == leases_.end()) return;
  if (auto held = found->second.keys.find(key); held != found->second.keys.end())
    found->second.keys.erase(held);
}

std::optional<TimePoint> LeaseTable::NextEnd() const {
  if (by_end_.empty()) return std::nullopt;
  return by_end_.begin()->first;
}

std::vector<std::int64_t> LeaseTable::Ended(TimePoint now) const {
  std::vector<std::int64_t> ended;
  for (const auto& [end, id] : by_end_) {
    if (end > now) break;
    ended.push_back(id);
  }
  return ended;
}

void LeaseTable::SetEnd(std::int64_t id, Lease& lease, TimePoint end) {
  by_end_.erase({lease.end, id});
  lease.end = end;
  by_end_.emplace(end, id);
}

LeaseTable::Silence LeaseTable::Listen(TimePoint now) const {
  Silence silence;
  for (const auto& [end, id] : by_end_) {
    const Lease& lease = leases_.at(id);
    if (!lease.kept) continue;
    ++silence.kept;
    if (2 * (now - lease.heard) >= std::chrono::seconds(lease.granted_seconds))
      silence.silent.push_back(id);
  }
  return silence;
}

std::size_t LeaseTable::SpareTheSilent(TimePoint now) {
  auto end = NextEnd();
  if (!end || *end > now) return 0;
  const Silence silence = Listen(now);
  const auto silent = std::ssize(silence.silent);
  if (silence.kept < kFewestForGrace ||
      static_cast<double>(silent) < kShareForGrace * static_cast<double>(silence.kept))
    return 0;
  std::ptrdiff_t spared = 0;
  for (std::int64_t id : silence.silent) {
    Lease& lease = leases_.at(id);
    if (std::exchange(lease.spared, true)) continue;
    const std::chrono::nanoseconds time = std::chrono::seconds(lease.granted_seconds);
    SetEnd(id, lease, now + kGrace * time + time * spared++ / silent);
  }
  sparing_ = sparing_ || spared > 0;
  return static_cast<std::size_t>(spared);
}

void LeaseTable::EndGrace(TimePoint now) {
  if (!sparing_) return;
  const Silence silence = Listen(now);
  if (2 * silence.silent.size() >= silence.kept) return;
  sparing_ = false;
  std::ptrdiff_t ended = 0;
  for (std::int64_t id : silence.silent) {
    Lease& lease = leases_.at(id);
    const std::chrono::nanoseconds time = std::chrono::seconds(lease.granted_seconds);
    if (lease.spared)
      SetEnd(id, lease,
             std::min(lease.end, now + time + time * ended++ / std::ssize(silence.silent)));
  }
}

void LeaseTable::ExtendAll(std::chrono::nanoseconds by) {
  by_end_.clear();
  for (auto& [id, lease] : leases_) {
    lease.heard += by;
    lease.end += by;
    by_end_.emplace(lease.end, id);
  }
}

std::vector<std::int64_t> LeaseTable::Ids() const {
  std::vector<std::int64_t> ids;
  for (const auto& [end, id] : by_end_) ids.push_back(id);
  return ids;
}

}  // namespace memfabric::store
