// How a pool finds its members and links them: at join, when a copy meets one that isn't linked,
// and when a link broke.

#include <algorithm>
#include <set>
#include <string>

#include "address/rank_list.h"
#include "base/backoff.h"
#include "base/log.h"
#include "base/wait.h"
#include "bm/pool.h"
#include "runtime/presence.h"
#include "store/recipes/records.h"

namespace memfabric::bm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// one try to link members; a peer that is stopped loses its lease after 3 s
constexpr milliseconds kLinkTry{1000};
// grows up to this while peers answer, but not all in time: an overloaded machine
constexpr milliseconds kLongLinkTry{16'000};
constexpr milliseconds kLinkPause{20};       // before the next try, less up to a half of it
constexpr milliseconds kLongLinkPause{320};  // grows up to this while nobody answers
// the same for links that broke: nobody waits for them
constexpr milliseconds kRelinkPause{500};
// docs/contract/python.md §2: a copy to a peer that can't be reached ends within 2 s
constexpr milliseconds kLookTimeout{2000};

}  // namespace

Status Pool::LinkEverybody(Deadline deadline) {
  // The directory is followed from before the members are read, so nobody who comes between is
  // missed.
  store::Directory::Listener listener;
  listener.on_put = [this](const store::KeyValue& entry) {
    auto record = store::DecodePoolRecord(entry);
    if (record.ok()) {
      peers_->OnRecord(*record);
    } else {
      LOG(kWarn, "{}", record.status().message());
    }
  };
  listener.on_removed = [this](const store::KeyValue& entry) {
    auto record = store::DecodePoolRecord(entry);
    if (record.ok()) peers_->OnRecordRemoved(record->rank(), record->epoch());
  };
  std::string prefix = job_.keys().Pool(options_.id);
  ASSIGN_OR_RETURN(directory_, store::Directory::Follow(job_.client(), prefix, std::move(listener),
                                                        SteadyClock(), deadline));

  // Everybody whose record stands now was there before, or comes at the same time; both are linked
  // from here. Whoever can't be linked is either on its way out, and then its record goes within
  // its lease's 3 s, or hinders this join.
  struct Tried {
    Rank rank;
    std::uint64_t epoch;
    bool near;  // on this host
  };
  std::set<std::pair<Rank, std::uint64_t>> dead;
  auto patience = kLinkTry;
  Backoff backoff(kLinkPause, kLongLinkPause);
  for (;;) {
    ASSIGN_OR_RETURN(auto snapshot, job_.client().GetPrefix(prefix, deadline));
    std::vector<store::PoolRecord> missing;
    for (const auto& entry : snapshot.entries) {
      auto record = store::DecodePoolRecord(entry);
      // no member wrote that, so nobody is to be reached there; the listener has said so
      if (!record.ok()) continue;
      if (record->rank() == job_.rank() || record->rank() >= agreed_.layout.world_size) continue;
      if (record->protocol() != kMemberProtocol)
        return InvalidArgument(
            "rank {} (host {}, pid {}) speaks protocol {} of members, this process {}: run one "
            "version of the library on all "
            "ranks",
            record->rank(), record->host_name(), record->pid(), record->protocol(),
            kMemberProtocol);
      if (peers_->LinkedEpoch(record->rank()) >= record->epoch()) continue;
      if (dead.contains({record->rank(), record->epoch()})) continue;
      missing.push_back(std::move(*record));
    }
    if (missing.empty()) return Ok();
    std::vector<Tried> tried;
    for (const auto& record : missing)
      tried.push_back({record.rank(), record.epoch(), record.host() == job_.host()});
    std::set<Rank> detoured;
    Status status = LinkMembers(missing, std::min(deadline, After(patience)), &detoured);
    if (status.ok()) continue;
    // To begin anew with those who were about to answer would only add to what keeps them busy.
    auto linked = [&](const Tried& member) {
      return peers_->LinkedEpoch(member.rank) >= member.epoch;
    };
    if (std::any_of(tried.begin(), tried.end(), linked)) {
      patience = std::min(2 * patience, kLongLinkTry);
      backoff.Reset();
    }
    if ((IsInvalidArgument(status) || IsAlreadyExists(status)) && GivenUp(deadline))
      return Reconnect("the others gave this process up while it joined: {}", status.message());
    if (!IsDisconnected(status) && !IsDeadlineExceeded(status)) return status;
    // Nobody serves the socket of a member on this host: it is dead, whatever its record says. A
    // refusal that comes over a network proves nothing, so that member's lease decides
    // (docs/decisions/refusals-prove-nothing.md).
    if (IsDisconnected(status)) {
      for (const Tried& member : tried)
        if (member.near && !linked(member) && !detoured.contains(member.rank))
          dead.insert({member.rank, member.epoch});
    }
    if (closing_) return NotFound("pool {} is being destroyed", options_.id);
    RETURN_IF_ERROR(PauseUntil(std::min(deadline, After(backoff.Next()))));
    if (steady_clock::now() >= deadline) {
      std::vector<Rank> ranks;
      for (const Tried& member : tried) ranks.push_back(member.rank);
      return DeadlineExceeded("no link to rank(s) {} within operation_timeout: {}", ListOf(ranks),
                              status.message());
    }
  }
}

bool Pool::GivenUp(Deadline deadline) {
  auto entry = job_.client().Get(job_.keys().PoolMember(options_.id, job_.rank()), deadline);
  if (!entry.ok()) return false;
  if (!entry->has_value()) return true;
  auto record = store::DecodePoolRecord(**entry);
  return record.ok() && record->epoch() != epoch_;
}

Status Pool::LinkMembers(const std::vector<store::PoolRecord>& members, Deadline deadline,
                         std::set<Rank>* detoured) {
  const std::string name = PoolName();
  auto address_of = [&](std::size_t i, const transport::Transport& transport) {
    return AddressOf(name, members[i].rank(), members[i], transport);
  };
  const auto results =
      transport::ConnectOverBest(ports_, members.size(), address_of, deadline, detours_);
  Status worst;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (detoured != nullptr && results[i].detoured) detoured->insert(members[i].rank());
    Status status = OfLinking(results[i].status, members[i], job_);
    // A refusal is final; one for this epoch's sake until there is another; a peer that doesn't
    // answer yet may, a peer that is gone won't.
    if (status.ok() || IsInvalidArgument(worst) ||
        (IsAlreadyExists(worst) && !IsInvalidArgument(status)))
      continue;
    if (worst.ok() || !IsDisconnected(status)) worst = std::move(status);
  }
  return worst;
}

bool Pool::LinkMissing(const copy::BatchRequest& batch) {
  // Whoever joined after this rank has linked it, so a rank without a link isn't there, as a rule.
  // The exception is a member whose record this rank could not see when it joined, because the
  // store had just lost it.
  std::set<Rank> ranks;
  for (std::size_t i = 0; i < batch.sizes_bytes.size(); ++i) {
    for (std::uint64_t address : {batch.sources[i], batch.destinations[i]}) {
      Rank first = RankOf(address), last = RankOf(address + batch.sizes_bytes[i] - 1);
      if (first == kNoRank || last == kNoRank || last < first) continue;
      for (Rank rank = first; rank <= last; ++rank) {
        if (rank != job_.rank() && peers_->LinkedEpoch(rank) == 0) ranks.insert(rank);
      }
    }
  }
  std::vector<store::PoolRecord> found;
  Deadline deadline = After(kLookTimeout);
  for (Rank rank : ranks) {
    auto entry = job_.client().Get(job_.keys().PoolMember(options_.id, rank), deadline);
    if (!entry.ok() || !entry->has_value()) continue;
    auto record = store::DecodePoolRecord(**entry);
    if (!record.ok() || record->rank() != rank || peers_->KnownGone(rank, record->epoch()))
      continue;
    found.push_back(std::move(*record));
    reach_->counters().Add(rank, copy::kNoPath, {.retries = 1});
  }
  if (found.empty()) return false;
  std::unique_lock control(control_, std::try_to_lock);
  return control.owns_lock() && joined_ && LinkMembers(found, deadline).ok();
}

void Pool::OnLinkBroke() {
  if (relink_queued_.exchange(true)) return;
  Status queued = relinks_.TrySubmit([this] { return Relink(); });
  if (queued.ok()) return;
  std::lock_guard lock(relink_mutex_);
  if (closing_) return;
  if (relink_retry_ == 0)
    LOG(kWarn, "pool {}: links that broke aren't made again for now: {}", options_.id,
        queued.message());
  relink_retry_ = job_.reactor().CallAt(After(kRelinkPause), [this] {
    relink_queued_ = false;
    OnLinkBroke();
  });
}

Status Pool::Relink() {
  CancelScope scope(closing_);
  Backoff backoff(kRelinkPause, 2 * kRelinkPause);
  do {
    relink_queued_ = false;
    if (!RelinkOnce()) return Ok();
  } while (PauseUntil(After(backoff.Next())).ok());
  return Ok();
}

bool Pool::RelinkOnce() {
  std::lock_guard control(control_);
  relink_unwanted_ = false;
  CancelScope scope(relink_unwanted_);
  if (!joined_ || closing_) return false;
  std::vector<store::PoolRecord> members;
  for (auto& broken : peers_->Broken()) {
    reach_->counters().Add(broken.record.rank(), broken.path, {.retries = 1});
    members.push_back(std::move(broken.record));
  }
  if (members.empty()) return false;
  if (Status status = LinkMembers(members, After(kLinkTry)); !status.ok())
    LOG(kDebug, "pool {}: a link that broke can't be made again yet: {}", options_.id,
        status.message());
  return true;
}

}  // namespace memfabric::bm
