#include "store/recipes/key_claim.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/log.h"
#include "base/mutex.h"
#include "base/wait.h"
#include "store/recipes/host_identity.h"

namespace memfabric::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr milliseconds kPollPeriod{100};  // of a lease that may or may not be renewed
constexpr milliseconds kRetryPeriod{20};  // of a store that was lost

Compare Absent(const std::string& key) {
  return {.target = Compare::Target::kCreateRevision, .key = key, .operand = 0};
}

// Waits until `key` is gone.
Status AwaitAbsence(Client& client, const std::string& key, Deadline deadline) {
  Mutex mutex;
  CondVar changed;
  bool absent = false;
  auto found = [&](bool stands) {
    MutexLock lock(mutex);
    absent = !stands;
    changed.NotifyAll();
  };
  auto watch = client.WatchPrefix(
      key, 0,
      {.on_events =
           [&](const auto& events) { found(events.back().type == WatchEvent::Type::kPut); },
       .on_reset = [&](const Snapshot& snapshot, bool) { found(!snapshot.entries.empty()); }});
  Status waited;
  {
    MutexLock lock(mutex);
    waited = WaitUntil(mutex, changed, deadline, [&] { return absent; });
  }
  watch.reset();  // before what its handler uses
  return waited;
}

std::string HolderText(const Holder& holder) {
  return fmt::format("pid {} on host {}", holder.pid, holder.host_name);
}

Status Held(const KeyClaim& claim, const Holder& holder) {
  return AlreadyExists("{} is held by a live process: {}", claim.what, HolderText(holder));
}

// Waits for the holder's lease to end, or to be seen renewed.
Status AwaitEndElsewhere(Client& client, const KeyClaim& claim, const KeyValue& entry,
                         const Holder& holder, Deadline deadline) {
  auto began = steady_clock::now();
  std::optional<seconds> first;
  for (;;) {
    auto asked = steady_clock::now();
    auto left = client.LeaseTimeToLive(entry.lease, deadline);
    if (IsNotFound(left.status())) return Ok();
    if (!left.ok()) return left.status();
    if (!first.has_value()) {
      first = *left;
      began = steady_clock::now();
    } else if (*left > *first || (*left == *first && asked - began >= seconds(1))) {
      return Held(claim, holder);  // whole seconds: an unrenewed one would be lower by now
    }
    RETURN_IF_ERROR(PauseClaim(kPollPeriod,
                               fmt::format("{}'s holder ({}) to renew its lease or to be given up",
                                           claim.what, HolderText(holder)),
                               deadline));
  }
}

}  // namespace

bool IsHere(const Holder& holder, const std::string& host) {
  if (holder.host != host) return false;
  if (IsThisHost(holder.witness)) return true;
  static std::atomic<bool> said{false};
  if (!said.exchange(true))
    LOG(kWarn,
        "{} has the host identity of this process ({}) and runs on another host, or on this one "
        "before its addresses changed: "
        "whether it lives, its lease tells. Give each host a MEMFABRIC_HOST_ID of its own, or none",
        HolderText(holder), host);
  return false;
}

Status PauseClaim(milliseconds period, const std::string& what, Deadline deadline) {
  if (steady_clock::now() >= deadline) return DeadlineExceeded("waited for {}", what);
  return PauseUntil(std::min<TimePoint>(deadline, steady_clock::now() + period));
}

Status Bury(Client& client, const KeyValue& entry, Deadline deadline) {
  Status revoked = client.RevokeLease(entry.lease, deadline);
  return IsNotFound(revoked) ? Ok() : revoked;
}

Result<ClaimAttempt> TryClaim(Client& client, Session& session, const Keys& keys,
                              const KeyClaim& claim, const std::string& place, Deadline deadline) {
  const std::string recovering = keys.Recovering();
  for (;;) {
    LeaseId lease = session.lease();
    Transaction transaction{.conditions = {Absent(claim.key), Absent(recovering)},
                            .then = {{.type = Operation::Type::kPut,
                                      .key = claim.key,
                                      .value = claim.value,
                                      .lease = lease}},
                            .otherwise = {{.type = Operation::Type::kGet, .key = claim.key},
                                          {.type = Operation::Type::kGet, .key = recovering}}};
    if (!place.empty())
      transaction.then.push_back({.type = Operation::Type::kDelete, .key = place});
    auto result = session.Commit(transaction, deadline);
    if (IsReconnect(result.status()) ||
        (IsDisconnected(result.status()) && steady_clock::now() < deadline)) {
      RETURN_IF_ERROR(PauseClaim(kRetryPeriod, "the store", deadline));
      continue;
    }
    if (!result.ok()) return result.status();
    if (result->succeeded) return ClaimAttempt{.taken = true, .holder = std::nullopt};
    const auto& holders = result->gets[0].entries;
    // an earlier try of ours, whose answer was lost
    if (!holders.empty() && holders[0].lease == lease) {
      RETURN_IF_ERROR(session.Publish(claim.key, claim.value, deadline));
      return ClaimAttempt{.taken = true, .holder = std::nullopt};
    }
    if (!result->gets[1].entries.empty()) {
      Status recovered = AwaitAbsence(client, recovering, deadline);
      if (IsDeadlineExceeded(recovered))
        return DeadlineExceeded(
            "waited for the members of the store that died to publish again in the one that took "
            "over");
      RETURN_IF_ERROR(recovered);
      continue;
    }
    return ClaimAttempt{.taken = false,
                        .holder = holders.empty() ? std::nullopt : std::optional(holders[0])};
  }
}

Status ClaimKey(Client& client, Session& session, const Keys& keys, const KeyClaim& claim,
                Deadline deadline) {
  for (;;) {
    ASSIGN_OR_RETURN(auto attempt, TryClaim(client, session, keys, claim, "", deadline));
    if (attempt.taken) return Ok();
    if (!attempt.holder.has_value()) continue;  // gone already
    ASSIGN_OR_RETURN(auto holder, claim.holder_of(*attempt.holder));
    if (!IsHere(holder, claim.host)) {
      RETURN_IF_ERROR(AwaitEndElsewhere(client, claim, *attempt.holder, holder, deadline));
    } else if (claim.is_alive(holder.liveness)) {
      return Held(claim, holder);
    } else {
      RETURN_IF_ERROR(Bury(client, *attempt.holder, deadline));
    }
  }
}

}  // namespace memfabric::store
