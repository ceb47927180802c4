#include "store/recipes/rank_claim.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>
#include <vector>

#include "store/recipes/host_identity.h"
#include "store/recipes/key_claim.h"
#include "store/recipes/records.h"

namespace memfabric::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPollPeriod{100};  // of a world that is full
constexpr milliseconds kQueuePeriod{20};  // of the queue, while those ahead may take the last ranks
constexpr milliseconds kCleanUpTimeout{1000};
// A full world is watched for this long before it is called full: a dead holder's lease has ended
// by then.
constexpr milliseconds kFullWorldPatience = kSessionTimeToLive + milliseconds(1000);

Holder HolderOf(const RankRecord& record) {
  return {record.host(), record.host_name(), record.pid(), record.liveness(), record.witness()};
}

class Claim {
 public:
  Claim(Client& client, Session& session, const Keys& keys, const ClaimOptions& options,
        Deadline deadline)
      : client_(client), session_(session), keys_(keys), options_(options), deadline_(deadline) {}

  Result<Rank> Given(Rank rank) {
    RETURN_IF_ERROR(Claiming(ClaimKey(client_, session_, keys_, ClaimOf(rank), deadline_)));
    return rank;
  }

  // Two calls of the store for each process, when all goes well: each puts itself into a queue and
  // reads, in one transaction, who is ahead and which ranks are taken. What those ahead will choose
  // follows from that, so each takes what they leave.
  Result<Rank> Assigned() {
    auto rank = TakeAssigned();
    // Success has removed the place in the queue together with the claim.
    if (!rank.ok())
      static_cast<void>(client_.Delete(place_, steady_clock::now() + kCleanUpTimeout));
    return rank;
  }

 private:
  struct Queue {
    std::vector<KeyValue> ahead;  // in order
    std::vector<KeyValue> ranks;
  };

  static Compare Absent(const std::string& key) {
    return {.target = Compare::Target::kCreateRevision, .key = key, .operand = 0};
  }

  KeyClaim ClaimOf(Rank rank) const {
    RankRecord record = options_.record;
    record.set_rank(rank);
    record.set_witness(HostWitness());
    return {.what = fmt::format("rank {}", rank),
            .key = keys_.Rank(rank),
            .value = EncodeRecord(record),
            .host = record.host(),
            .holder_of = [](const KeyValue& entry) -> Result<Holder> {
              ASSIGN_OR_RETURN(auto holder, DecodeRankRecord(entry));
              return HolderOf(holder);
            },
            .is_alive = options_.is_alive};
  }

  Result<Rank> TakeAssigned() {
    std::optional<TimePoint> full_since;
    for (;;) {
      ASSIGN_OR_RETURN(auto queue, LineUp());
      ASSIGN_OR_RETURN(auto choice, Choose(queue));
      if (choice.has_value()) {
        auto tried = TryClaim(client_, session_, keys_, ClaimOf(*choice), place_, deadline_);
        RETURN_IF_ERROR(Claiming(tried.status()));
        const ClaimAttempt& attempt = *tried;
        if (attempt.taken) return *choice;
        continue;
      }
      if (queue.ranks.size() < options_.world_size) {  // those ahead may take the rest, or fail
        RETURN_IF_ERROR(Pause(kQueuePeriod, "those ahead in the queue for a rank"));
        continue;
      }
      ASSIGN_OR_RETURN(auto occupation, RemoveDeadClaims(queue.ranks));
      if (occupation == Occupation::kSomeBuried) continue;
      if (!full_since.has_value()) full_since = steady_clock::now();
      if (occupation == Occupation::kAllAlive ||
          steady_clock::now() - *full_since > kFullWorldPatience)
        return InUse("all {} ranks are taken", options_.world_size);
      RETURN_IF_ERROR(
          Pause(kPollPeriod, fmt::format("one of {} ranks to become free", options_.world_size)));
    }
  }

  // Takes a place in the queue, or keeps the one it has.
  Result<Queue> LineUp() {
    for (;;) {
      LeaseId lease = session_.lease();
      place_ = keys_.Waiting(lease);
      const std::vector<Operation> look{
          {.type = Operation::Type::kGet, .key = keys_.Waiting(), .prefix = true},
          {.type = Operation::Type::kGet, .key = keys_.Ranks(), .prefix = true}};
      Transaction line_up{.conditions = {Absent(place_)},
                          .then = {{.type = Operation::Type::kPut,
                                    .key = place_,
                                    .value = options_.record.host(),
                                    .lease = lease}},
                          .otherwise = look};
      line_up.then.insert(line_up.then.end(), look.begin(), look.end());
      auto result = client_.Commit(line_up, deadline_);
      // The lease is gone (the store was replaced; the session knows, or will soon) or the answer
      // was lost.
      if (IsNotFound(result.status()) ||
          (IsDisconnected(result.status()) && steady_clock::now() < deadline_)) {
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

  // The rank for a process on `host`: the lowest free one next to the host's others, if other hosts
  // have ranks as well.
  static std::optional<Rank> Next(const std::vector<const std::string*>& hosts,
                                  const std::string& host) {
    std::optional<Rank> lowest;
    std::optional<Rank> adjacent;
    bool other_hosts = false;
    auto ours = [&](std::size_t rank) {
      return rank < hosts.size() && hosts[rank] != nullptr && *hosts[rank] == host;
    };
    for (Rank rank = 0; rank < hosts.size(); ++rank) {
      if (hosts[rank] != nullptr) {
        other_hosts = other_hosts || *hosts[rank] != host;
        continue;
      }
      if (!lowest.has_value()) lowest = rank;
      if (!adjacent.has_value() && ((rank > 0 && ours(rank - 1)) || ours(rank + 1)))
        adjacent = rank;
    }
    return other_hosts && adjacent.has_value() ? adjacent : lowest;
  }

  enum class Occupation { kAllAlive, kUnknownElsewhere, kSomeBuried };

  Result<Occupation> RemoveDeadClaims(const std::vector<KeyValue>& ranks) {
    Occupation occupation = Occupation::kAllAlive;
    for (const auto& entry : ranks) {
      ASSIGN_OR_RETURN(auto holder, DecodeRankRecord(entry));
      if (!IsHere(HolderOf(holder), options_.record.host())) {
        if (occupation == Occupation::kAllAlive) occupation = Occupation::kUnknownElsewhere;
      } else if (!options_.is_alive(holder.liveness())) {
        RETURN_IF_ERROR(Bury(client_, entry, deadline_));
        occupation = Occupation::kSomeBuried;
      }
    }
    return occupation;
  }

  Status Pause(milliseconds period, const std::string& what) {
    return Claiming(PauseClaim(period, what, deadline_));
  }

  static Status Claiming(const Status& status) {
    return IsDeadlineExceeded(status) ? status.WithContext("claiming a rank") : status;
  }

  Client& client_;
  Session& session_;
  const Keys& keys_;
  const ClaimOptions& options_;
  const Deadline deadline_;
  std::string place_;  // in the queue; "" for who asks for a certain rank
};

}  // namespace

Result<Rank> ClaimRank(Client& client, Session& session, const Keys& keys,
                       const ClaimOptions& options, Deadline deadline) {
  Claim claim(client, session, keys, options, deadline);
  if (!options.rank.has_value()) return claim.Assigned();
  if (*options.rank >= options.world_size)
    return InvalidArgument("rank {} is not below the world size {}", *options.rank,
                           options.world_size);
  return claim.Given(*options.rank);
}

}  // namespace memfabric::store
