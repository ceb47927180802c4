#include "store/recipes/rank_claim.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>
#include <vector>

#include "base/wait.h"
#include "store/recipes/records.h"

namespace memfabric::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr milliseconds kPollPeriod{100};  // of a lease that may or may not be renewed
constexpr milliseconds kQueuePeriod{20};  // of the queue, while those ahead may take the last ranks
constexpr milliseconds kCleanUpTimeout{1000};
// A full world is watched for this long before it is called full: a dead holder's lease has ended by then.
constexpr milliseconds kFullWorldPatience = kSessionTimeToLive + milliseconds(1000);

std::string HolderText(const RankRecord& holder) { return fmt::format("pid {} on host {}", holder.pid(), holder.host_name()); }

// Waits until `key` is gone.
Status AwaitAbsence(Client& client, const std::string& key, Deadline deadline) {
  std::mutex mutex;
  std::condition_variable changed;
  bool absent = false;
  auto found = [&](bool stands) {
    std::lock_guard lock(mutex);
    absent = !stands;
    changed.notify_all();
  };
  auto watch =
      client.WatchPrefix(key, 0,
                         {.on_events = [&](const auto& events) { found(events.back().type == WatchEvent::Type::kPut); },
                          .on_reset = [&](const Snapshot& snapshot, bool) { found(!snapshot.entries.empty()); }});
  Status waited;
  {
    std::unique_lock lock(mutex);
    waited = WaitUntil(lock, changed, deadline, [&] { return absent; });
  }
  watch.reset();  // before what its handler uses
  return waited;
}

class Claim {
 public:
  Claim(Client& client, Session& session, const Keys& keys, const ClaimOptions& options, Deadline deadline)
      : client_(client), session_(session), keys_(keys), options_(options), deadline_(deadline) {}

  Result<Rank> Given(Rank rank) {
    for (;;) {
      ASSIGN_OR_RETURN(auto attempt, Take(rank));
      if (attempt.taken) return rank;
      if (!attempt.holder.has_value()) continue;  // gone already
      ASSIGN_OR_RETURN(auto holder, DecodeRankRecord(*attempt.holder));
      if (holder.host() != options_.record.host()) {
        RETURN_IF_ERROR(AwaitEndElsewhere(rank, *attempt.holder, holder));
      } else if (options_.is_alive(holder)) {
        return Held(rank, holder);
      } else {
        RETURN_IF_ERROR(Bury(*attempt.holder));
      }
    }
  }

  // Two calls of the store for each process, when all goes well: each puts itself into a queue and reads, in one transaction,
  // who is ahead and which ranks are taken. What those ahead will choose follows from that, so each takes what they leave.
  Result<Rank> Assigned() {
    auto rank = TakeAssigned();
    // Success has removed the place in the queue together with the claim.
    if (!rank.ok()) static_cast<void>(client_.Delete(place_, steady_clock::now() + kCleanUpTimeout));
    return rank;
  }

 private:
  struct Attempt {
    bool taken = false;
    std::optional<KeyValue> holder;  // who has it
  };
  struct Queue {
    std::vector<KeyValue> ahead;  // in order
    std::vector<KeyValue> ranks;
  };

  static Compare Absent(const std::string& key) {
    return {.target = Compare::Target::kCreateRevision, .key = key, .operand = 0};
  }

  // Tries to put this process's record there.
  Result<Attempt> Take(Rank rank) {
    const std::string key = keys_.Rank(rank);
    const std::string recovering = keys_.Recovering();
    RankRecord record = options_.record;
    record.set_rank(rank);
    for (;;) {
      LeaseId lease = session_.lease();
      Transaction claim{
          .conditions = {Absent(key), Absent(recovering)},
          .then = {{.type = Operation::Type::kPut, .key = key, .value = EncodeRecord(record), .lease = lease}},
          .otherwise = {{.type = Operation::Type::kGet, .key = key}, {.type = Operation::Type::kGet, .key = recovering}}};
      if (!place_.empty()) claim.then.push_back({.type = Operation::Type::kDelete, .key = place_});
      auto result = session_.Commit(claim, deadline_);
      if (IsReconnect(result.status()) || (IsDisconnected(result.status()) && steady_clock::now() < deadline_)) {
        RETURN_IF_ERROR(Pause(kQueuePeriod, "the store"));
        continue;
      }
      if (!result.ok()) return result.status();
      if (result->succeeded) return Attempt{.taken = true, .holder = std::nullopt};
      const auto& holders = result->gets[0].entries;
      if (!holders.empty() && holders[0].lease == lease) {  // an earlier try of ours, whose answer was lost
        RETURN_IF_ERROR(session_.Publish(key, EncodeRecord(record), deadline_));
        return Attempt{.taken = true, .holder = std::nullopt};
      }
      if (!result->gets[1].entries.empty()) {
        RETURN_IF_ERROR(Deadlined(AwaitAbsence(client_, recovering, deadline_),
                                  "the members of the store that died to publish again in the one that took over"));
        continue;
      }
      return Attempt{.taken = false, .holder = holders.empty() ? std::nullopt : std::optional(holders[0])};
    }
  }

  // Waits for the holder's lease to end, or to be seen renewed.
  Status AwaitEndElsewhere(Rank rank, const KeyValue& entry, const RankRecord& holder) {
    auto began = steady_clock::now();
    std::optional<seconds> first;
    for (;;) {
      auto asked = steady_clock::now();
      auto left = client_.LeaseTimeToLive(entry.lease, deadline_);
      if (IsNotFound(left.status())) return Ok();
      if (!left.ok()) return left.status();
      if (!first.has_value()) {
        first = *left;
        began = steady_clock::now();
      } else if (*left > *first || (*left == *first && asked - began >= seconds(1))) {
        return Held(rank, holder);  // whole seconds: an unrenewed one would be lower by now
      }
      RETURN_IF_ERROR(Pause(
          kPollPeriod, fmt::format("rank {}'s holder ({}) to renew its lease or to be given up", rank, HolderText(holder))));
    }
  }

  static Status Held(Rank rank, const RankRecord& holder) {
    return AlreadyExists("rank {} is held by a live process: {}", rank, HolderText(holder));
  }

  // Ends a dead process's lease, and with it all that it had published.
  Status Bury(const KeyValue& entry) {
    Status revoked = client_.RevokeLease(entry.lease, deadline_);
    return IsNotFound(revoked) ? Ok() : revoked;
  }

  Result<Rank> TakeAssigned() {
    std::optional<TimePoint> full_since;
    for (;;) {
      ASSIGN_OR_RETURN(auto queue, LineUp());
      ASSIGN_OR_RETURN(auto choice, Choose(queue));
      if (choice.has_value()) {
        ASSIGN_OR_RETURN(auto attempt, Take(*choice));
        if (attempt.taken) return *choice;
        continue;
      }
      if (queue.ranks.size() < options_.world_size) {  // those ahead may take the rest, or fail
        RETURN_IF_ERROR(Pause(kQueuePeriod, "those ahead in the queue for a rank"));
        continue;
      }
      ASSIGN_OR_RETURN(auto occupation, BuryTheDead(queue.ranks));
      if (occupation == Occupation::kSomeBuried) continue;
      if (!full_since.has_value()) full_since = steady_clock::now();
      if (occupation == Occupation::kAllAlive || steady_clock::now() - *full_since > kFullWorldPatience)
        return InUse("all {} ranks are taken", options_.world_size);
      RETURN_IF_ERROR(Pause(kPollPeriod, fmt::format("one of {} ranks to become free", options_.world_size)));
    }
  }

  // Takes a place in the queue, or keeps the one it has.
  Result<Queue> LineUp() {
    for (;;) {
      LeaseId lease = session_.lease();
      place_ = keys_.Waiting(lease);
      const std::vector<Operation> look{{.type = Operation::Type::kGet, .key = keys_.Waiting(), .prefix = true},
                                        {.type = Operation::Type::kGet, .key = keys_.Ranks(), .prefix = true}};
      Transaction line_up{
          .conditions = {Absent(place_)},
          .then = {{.type = Operation::Type::kPut, .key = place_, .value = options_.record.host(), .lease = lease}},
          .otherwise = look};
      line_up.then.insert(line_up.then.end(), look.begin(), look.end());
      auto result = client_.Commit(line_up, deadline_);
      // The lease is gone (the store was replaced; the session knows, or will soon) or the answer was lost.
      if (IsNotFound(result.status()) || (IsDisconnected(result.status()) && steady_clock::now() < deadline_)) {
        RETURN_IF_ERROR(Pause(kQueuePeriod, "the store"));
        continue;
      }
      if (!result.ok()) return result.status();
      Queue queue;
      auto& waiting = result->gets[0].entries;
      std::ranges::sort(waiting, {}, &KeyValue::create_revision);
      for (auto& entry : waiting) {
        if (entry.key == place_) break;
        queue.ahead.push_back(std::move(entry));
      }
      queue.ranks = std::move(result->gets[1].entries);
      return queue;
    }
  }

  // What those ahead leave to this process; none: nothing.
  Result<std::optional<Rank>> Choose(const Queue& queue) {
    std::vector<const std::string*> hosts(options_.world_size);  // by rank; null: free
    std::vector<RankRecord> records;
    records.reserve(queue.ranks.size());
    for (const auto& entry : queue.ranks) {
      ASSIGN_OR_RETURN(auto record, DecodeRankRecord(entry));
      if (record.rank() >= options_.world_size) continue;
      records.push_back(std::move(record));
      hosts[records.back().rank()] = &records.back().host();
    }
    for (const auto& entry : queue.ahead)
      if (auto rank = Next(hosts, entry.value); rank.has_value()) hosts[*rank] = &entry.value;
    return Next(hosts, options_.record.host());
  }

  // The rank for a process on `host`: the lowest free one next to the host's others, if other hosts have ranks as well.
  static std::optional<Rank> Next(const std::vector<const std::string*>& hosts, const std::string& host) {
    std::optional<Rank> lowest;
    std::optional<Rank> adjacent;
    bool other_hosts = false;
    auto ours = [&](std::size_t rank) { return rank < hosts.size() && hosts[rank] != nullptr && *hosts[rank] == host; };
    for (Rank rank = 0; rank < hosts.size(); ++rank) {
      if (hosts[rank] != nullptr) {
        other_hosts = other_hosts || *hosts[rank] != host;
        continue;
      }
      if (!lowest.has_value()) lowest = rank;
      if (!adjacent.has_value() && ((rank > 0 && ours(rank - 1)) || ours(rank + 1))) adjacent = rank;
    }
    return other_hosts && adjacent.has_value() ? adjacent : lowest;
  }

  enum class Occupation { kAllAlive, kUnknownElsewhere, kSomeBuried };

  Result<Occupation> BuryTheDead(const std::vector<KeyValue>& ranks) {
    Occupation occupation = Occupation::kAllAlive;
    for (const auto& entry : ranks) {
      ASSIGN_OR_RETURN(auto holder, DecodeRankRecord(entry));
      if (holder.host() != options_.record.host()) {
        if (occupation == Occupation::kAllAlive) occupation = Occupation::kUnknownElsewhere;
      } else if (!options_.is_alive(holder)) {
        RETURN_IF_ERROR(Bury(entry));
        occupation = Occupation::kSomeBuried;
      }
    }
    return occupation;
  }

  Status Pause(milliseconds period, const std::string& what) {
    if (steady_clock::now() >= deadline_) return DeadlineExceeded("claiming a rank: waited for {}", what);
    return PauseUntil(std::min<TimePoint>(deadline_, steady_clock::now() + period));
  }

  static Status Deadlined(Status status, std::string_view what) {
    return IsDeadlineExceeded(status) ? DeadlineExceeded("claiming a rank: waited for {}", what) : status;
  }

  Client& client_;
  Session& session_;
  const Keys& keys_;
  const ClaimOptions& options_;
  const Deadline deadline_;
  std::string place_;  // in the queue; "" for who asks for a certain rank
};

}  // namespace

Result<Rank> ClaimRank(Client& client, Session& session, const Keys& keys, const ClaimOptions& options, Deadline deadline) {
  Claim claim(client, session, keys, options, deadline);
  if (!options.rank.has_value()) return claim.Assigned();
  if (*options.rank >= options.world_size)
    return InvalidArgument("rank {} is not below the world size {}", *options.rank, options.world_size);
  return claim.Given(*options.rank);
}

}  // namespace memfabric::store
