#include "shm/rendezvous.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "address/rank_list.h"
#include "base/log.h"
#include "base/wait.h"
#include "store/recipes/host_identity.h"

namespace memfabric::shm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kWithdrawTimeout{2000};
// while the record of a dead process is on its way out
constexpr milliseconds kStaleRecordPoll{100};
constexpr milliseconds kStaleRecordTime{5000};  // a lease ends within 3 s
constexpr milliseconds kVerdictTime{1000};      // for rank 0 to tell all
constexpr milliseconds kReasonTime{300};
constexpr milliseconds kGraceTime{300};

std::string NameOf(const store::ObjectMember& member) {
  return fmt::format("rank {} (host {}, pid {})", member.rank(), member.host_name(), member.pid());
}

}  // namespace

store::WindowRecord WindowRecordOf(const Job& job, const CreateOptions& options,
                                   const PoolLayout& layout) {
  store::WindowRecord record;
  record.set_base(layout.base);
  record.set_world_size(layout.world_size);
  record.set_max_device_bytes(layout.max_bytes[Index(Zone::kDevice)]);
  record.set_max_host_bytes(layout.max_bytes[Index(Zone::kHost)]);
  record.set_rank(options.rank);
  record.set_host_name(job.host_name());
  record.set_pid(::getpid());
  return record;
}

Rendezvous::Rendezvous(Job& job, const CreateOptions& options, ToldFailures& told,
                       std::function<void(const Status&)> on_failure)
    : job_(job), options_(options), told_(told), on_failure_(std::move(on_failure)) {
  own_.set_rank(options.rank);
  own_.set_epoch(job.NextEpoch());
  own_.set_host(job.host());
  own_.set_host_name(job.host_name());
  // Of one user, because others may not be let in by everybody.
  own_.set_neighbourhood(fmt::format("{} {} {}", job.host(), store::BootAndNetwork(), ::geteuid()));
  own_.set_pid(::getpid());
  own_.set_rank_size(options.rank_size);
  own_.set_bytes(options.bytes);
}

Rendezvous::~Rendezvous() {
  directory_.reset();
  Deadline deadline = steady_clock::now() + kWithdrawTimeout;
  for (const auto& key : published_) {
    if (keeps_lead_ && key == job_.keys().ObjectLead(options_.id)) continue;
    Status withdrawn = job_.session().Withdraw(key, deadline);
    if (!withdrawn.ok())
      LOG(kInfo, "the store will forget {} when the lease ends: {}", key, withdrawn.message());
  }
}

std::string Rendezvous::ObjectName() const { return fmt::format("object {}", options_.id); }

Status Rendezvous::Persist(const std::string& key, const google::protobuf::Message& record,
                           Deadline deadline) {
  if (std::find(published_.begin(), published_.end(), key) == published_.end())
    published_.push_back(key);
  auto began = steady_clock::now();
  for (;;) {
    Status status = job_.session().Publish(key, store::EncodeRecord(record), deadline);
    auto now = steady_clock::now();
    // The answer was lost: to write it once more does no harm.
    if (IsDisconnected(status) && now < deadline) continue;
    if (!IsAlreadyExists(status) || now >= std::min<Deadline>(deadline, began + kStaleRecordTime))
      return status.WithContext(fmt::format("{}, rank {}", ObjectName(), options_.rank));
    if (key == job_.keys().ObjectLead(options_.id)) {
      ASSIGN_OR_RETURN(bool replaced, ReplaceFailedLead(deadline));
      if (replaced) continue;
    }
    // a dead process's, or a duplicate
    RETURN_IF_ERROR(PauseUntil(std::min<Deadline>(deadline, now + kStaleRecordPoll)));
  }
}

Result<bool> Rendezvous::ReplaceFailedLead(Deadline deadline) {
  const std::string key = job_.keys().ObjectLead(options_.id);
  ASSIGN_OR_RETURN(auto entry, job_.client().Get(key, deadline));
  if (!entry.has_value()) return true;
  auto lead = store::DecodeObjectLead(*entry);
  if (!lead.ok() || lead->failure_kind() == 0) return false;
  store::Transaction transaction;
  transaction.conditions.push_back(
      {.target = store::Compare::Target::kModRevision, .key = key, .operand = entry->mod_revision});
  transaction.then.push_back({.type = store::Operation::Type::kDelete, .key = key});
  RETURN_IF_ERROR(job_.client().Commit(transaction, deadline).status());
  return true;
}

Status Rendezvous::Begin(PoolLayout& layout, const Choose& choose, Deadline deadline) {
  RETURN_IF_ERROR(job_.AwaitRecovered(deadline));
  if (leads()) {
    lead_.set_epoch(own_.epoch());
    lead_.set_host_name(job_.host_name());
    lead_.set_pid(::getpid());
    lead_.set_processors(std::max(1u, std::thread::hardware_concurrency()));
    RETURN_IF_ERROR(PlaceWindow(layout, choose, deadline));
    lead_.set_base(layout.base);
    begun_ = true;
    RETURN_IF_ERROR(Persist(job_.keys().ObjectLead(options_.id), lead_, deadline));
    return FollowDirectory(deadline);
  }
  // What stands there before this rank has come is about an earlier creation, if it has failed.
  RETURN_IF_ERROR(FollowDirectory(deadline));
  {
    std::lock_guard lock(mutex_);
    begun_ = true;
  }
  RETURN_IF_ERROR(MissedFailure(deadline));
  RETURN_IF_ERROR(Persist(job_.keys().ObjectMember(options_.id, options_.rank), own_, deadline));
  RETURN_IF_ERROR(Wait(deadline, [&] { return heard_.epoch() != 0; }));
  std::lock_guard lock(mutex_);
  lead_ = heard_;
  layout.base = lead_.base();
  return layout.Validate().WithContext(
      fmt::format("the lead of {} by pid {} on {}", ObjectName(), lead_.pid(), lead_.host_name()));
}

Status Rendezvous::MissedFailure(Deadline deadline) {
  store::ObjectLead lead;
  std::int64_t revision = 0;
  {
    std::lock_guard lock(mutex_);
    lead = missed_;
    revision = missed_revision_;
  }
  const auto& absent = lead.absent();
  if (std::find(absent.begin(), absent.end(), options_.rank) == absent.end()) return Ok();
  // A process that was started since, in the place of another, has nothing to do with it.
  ASSIGN_OR_RETURN(auto own, job_.client().Get(job_.keys().Rank(job_.rank()), deadline));
  if (!own.has_value() || own->create_revision > revision) return Ok();
  if (!told_.Tell(options_.id, lead.epoch())) return Ok();
  return Status(static_cast<Kind>(lead.failure_kind()), lead.failure())
      .WithContext("before this rank came");
}

Status Rendezvous::PlaceWindow(PoolLayout& layout, const Choose& choose, Deadline deadline) {
  std::string key = job_.keys().Window(options_.id, options_.rank);
  for (;;) {
    ASSIGN_OR_RETURN(auto snapshot, job_.client().GetPrefix(job_.keys().Windows(), deadline));
    std::vector<AddressSpan> others;
    for (const auto& entry : snapshot.entries) {
      if (entry.key == key) continue;
      ASSIGN_OR_RETURN(auto record, store::DecodeWindowRecord(entry));
      PoolLayout other{.base = record.base(),
                       .world_size = record.world_size(),
                       .max_bytes = {record.max_device_bytes(), record.max_host_bytes()}};
      RETURN_IF_ERROR(other.Validate().WithContext(entry.key));
      others.push_back({other.base, other.WindowBytes()});
    }
    ASSIGN_OR_RETURN(layout.base, choose(others));
    store::Transaction transaction;  // fails if a window was recorded since
    transaction.conditions.push_back({.target = store::Compare::Target::kModRevision,
                                      .relation = store::Compare::Relation::kLess,
                                      .key = job_.keys().Windows(),
                                      .prefix = true,
                                      .operand = snapshot.revision + 1});
    transaction.then.push_back(
        {.type = store::Operation::Type::kPut,
         .key = key,
         .value = store::EncodeRecord(WindowRecordOf(job_, options_, layout)),
         .lease = job_.session().lease(),
         .prefix = false});
    auto result = job_.session().Commit(transaction, deadline);
    if (result.ok() && result->succeeded) return Ok();
    if (!result.ok() && !IsDisconnected(result.status())) return result.status();
    if (steady_clock::now() >= deadline)
      return DeadlineExceeded("{}: its place in the address space could not be recorded in time",
                              ObjectName());
  }
}

Status Rendezvous::FollowDirectory(Deadline deadline) {
  store::Directory::Listener listener;
  std::string prefix;
  // Records that can't be read are somebody's accident with etcdctl, and whoever they stand for
  // will be missing.
  if (leads()) {
    prefix = job_.keys().ObjectMembers(options_.id);
    auto tell = [this](const store::KeyValue& entry,
                       void (Rendezvous::*hear)(const store::ObjectMember&)) {
      auto record = store::DecodeObjectMember(entry);
      if (!record.ok()) {
        LOG(kWarn, "{}", record.status().message());
        return;
      }
      (this->*hear)(*record);
    };
    listener.on_put = [tell](const store::KeyValue& entry) { tell(entry, &Rendezvous::OnMember); };
    listener.on_removed = [tell](const store::KeyValue& entry) {
      tell(entry, &Rendezvous::OnMemberGone);
    };
  } else {
    prefix = job_.keys().ObjectLead(options_.id);
    listener.on_put = [this](const store::KeyValue& entry) {
      auto record = store::DecodeObjectLead(entry);
      if (record.ok()) return OnLead(*record, entry.mod_revision);
      LOG(kWarn, "{}", record.status().message());
    };
    listener.on_removed = [this](const store::KeyValue& entry) {
      auto record = store::DecodeObjectLead(entry);
      if (record.ok()) OnLeadGone(*record);
    };
  }
  ASSIGN_OR_RETURN(directory_, store::Directory::Follow(job_.client(), prefix, std::move(listener),
                                                        SteadyClock(), deadline));
  return Ok();
}

Status Rendezvous::Follow(const std::map<std::string, std::string>& transports, Deadline deadline) {
  RETURN_IF_ERROR(failure());
  own_.set_lead(lead_.epoch());
  own_.mutable_transports()->clear();
  for (const auto& [name, advert] : transports) (*own_.mutable_transports())[name] = advert;
  return Persist(job_.keys().ObjectMember(options_.id, options_.rank), own_, deadline);
}

Result<std::vector<store::ObjectMember>> Rendezvous::AwaitAll(Deadline deadline) {
  if (leads()) {
    RETURN_IF_ERROR(Wait(deadline, [&] {
      return members_.size() == options_.rank_size &&
             std::all_of(members_.begin(), members_.end(),
                         [&](const auto& member) { return member.second.lead() == lead_.epoch(); });
    }));
    {
      std::lock_guard lock(mutex_);
      RETURN_IF_ERROR(failure_);
      lead_.set_complete(true);
      for (const auto& [rank, known] : members_) {
        store::ObjectMember& member = *lead_.add_members();
        member = known;
        member.clear_rank_size();
        member.clear_bytes();
        member.clear_lead();
      }
    }
    RETURN_IF_ERROR(Persist(job_.keys().ObjectLead(options_.id), lead_, deadline));
  } else {
    RETURN_IF_ERROR(Wait(deadline, [&] { return heard_.complete(); }));
    std::lock_guard lock(mutex_);
    lead_ = heard_;
  }
  std::vector<store::ObjectMember> all(lead_.members().begin(), lead_.members().end());
  for (Rank rank = 0; rank < all.size(); ++rank)
    if (all[rank].rank() != rank) all.clear();
  if (all.size() != options_.rank_size)
    return IoError(
        "{}: the record by which rank 0 (host {}, pid {}) says that all are there does not name "
        "ranks 0 to {}: run one "
        "version of the library on all ranks",
        ObjectName(), lead_.host_name(), lead_.pid(), options_.rank_size - 1);
  return all;
}

std::set<Rank> Rendezvous::Gone() const {
  std::lock_guard lock(mutex_);
  return gone_;
}

Status Rendezvous::Wait(Deadline deadline, const std::function<bool()>& done) {
  std::unique_lock lock(mutex_);
  Status status = WaitUntil(lock, changed_, deadline, [&] { return !failure_.ok() || done(); });
  if (!failure_.ok()) return failure_;
  if (!IsDeadlineExceeded(status)) return status;
  lock.unlock();
  return NameMissing(steady_clock::now() + kWithdrawTimeout);
}

Status Rendezvous::NameMissing(Deadline deadline) {
  auto snapshot = job_.client().GetPrefix(job_.keys().Object(options_.id), deadline);
  if (!snapshot.ok())
    return DeadlineExceeded(
        "{}: the ranks did not come together within create_timeout, and the store does not "
        "say who is missing: {}",
        ObjectName(), snapshot.status().message());
  std::vector<bool> came(options_.rank_size), ready(options_.rank_size);
  came[options_.rank] = true;
  {
    std::lock_guard lock(mutex_);
    if (!leads()) came[0] = heard_.epoch() != 0;
    for (Rank rank : seen_)
      if (rank < came.size()) came[rank] = true;
  }
  for (const auto& entry : snapshot->entries) {
    if (!entry.key.starts_with(job_.keys().ObjectMembers(options_.id))) continue;
    auto member = store::DecodeObjectMember(entry);
    if (!member.ok() || member->rank() >= came.size()) continue;
    if (member->lead() == 0 || member->lead() == lead_.epoch()) came[member->rank()] = true;
    if (member->lead() != 0 && member->lead() == lead_.epoch()) ready[member->rank()] = true;
  }
  bool all_came = std::find(came.begin(), came.end(), false) == came.end();
  std::vector<Rank> missing;
  for (Rank rank = 0; rank < came.size(); ++rank)
    if (!(all_came ? ready[rank] : came[rank])) missing.push_back(rank);
  if (missing.empty())
    return DeadlineExceeded("{}: all ranks came, but too late for create_timeout", ObjectName());
  return DeadlineExceeded("{}: {} of {} ranks {} within create_timeout: rank(s) {}", ObjectName(),
                          missing.size(), options_.rank_size,
                          all_came ? "came, but were not ready" : "did not come", ListOf(missing));
}

Status Rendezvous::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void Rendezvous::FailLocked(const Status& why) {
  if (!failure_.ok()) return;
  failure_ = why;
  changed_.notify_all();
  on_failure_(why);
}

Status Rendezvous::Fail(const Status& why) {
  Status first;
  {
    std::unique_lock lock(mutex_);
    // Somebody has gone: as a rule because its create failed, and then that is on its way here.
    if (IsDisconnected(why))
      (void)WaitUntil(lock, changed_, steady_clock::now() + kReasonTime,
                      [&] { return !failure_.ok(); });
    FailLocked(why);
    first = failure_;
  }
  Deadline deadline = steady_clock::now() + kVerdictTime;
  Status told;
  if (leads()) {
    if (!begun_) return first;
    store::ObjectLead verdict = lead_;
    verdict.clear_members();
    verdict.set_complete(false);
    verdict.set_failure_kind(static_cast<std::uint32_t>(first.kind()));
    verdict.set_failure(first.message());
    {
      std::lock_guard lock(mutex_);
      for (Rank rank = 1; rank < options_.rank_size; ++rank)
        if (!seen_.contains(rank)) verdict.add_absent(rank);
    }
    // Whoever has not come in time may be in time for the next try.
    keeps_lead_ = verdict.absent_size() != 0 && !IsDeadlineExceeded(first);
    told = Persist(job_.keys().ObjectLead(options_.id), verdict, deadline);
  } else if (!published_.empty()) {
    own_.set_failure_kind(static_cast<std::uint32_t>(first.kind()));
    own_.set_failure(first.message());
    told = Persist(job_.keys().ObjectMember(options_.id, options_.rank), own_, deadline);
  }
  // Others whose time ends now, too, look who has come.
  if (IsDeadlineExceeded(first)) (void)PauseUntil(steady_clock::now() + kGraceTime);
  if (!told.ok())
    LOG(kInfo, "{}: the others will hear late that it failed: {}", ObjectName(), told.message());
  return first;
}

void Rendezvous::OnMember(const store::ObjectMember& member) {
  std::lock_guard lock(mutex_);
  if (member.lead() != 0 && member.lead() != lead_.epoch()) return;  // of an earlier creation
  // it gave up before this one began
  if (member.lead() == 0 && !member.failure().empty()) {
    if (auto known = members_.find(member.rank());
        known != members_.end() && known->second.epoch() == member.epoch())
      members_.erase(known);
    return;
  }
  seen_.insert(member.rank());
  if (member.rank_size() != options_.rank_size)
    return FailLocked(InvalidArgument(
        "{}: {} has rank_size {}, and rank 0 (host {}, pid {}) has {}; all must be equal",
        ObjectName(), NameOf(member), member.rank_size(), own_.host_name(), own_.pid(),
        options_.rank_size));
  if (member.bytes() != options_.bytes)
    return FailLocked(
        InvalidArgument("{}: {} gives {} ({} bytes), and rank 0 (host {}, pid {}) gives {} ({} "
                        "bytes); all must be equal",
                        ObjectName(), NameOf(member), SizeText(member.bytes()), member.bytes(),
                        own_.host_name(), own_.pid(), SizeText(options_.bytes), options_.bytes));
  if (!member.failure().empty())
    return FailLocked(
        Status(static_cast<Kind>(member.failure_kind()),
               fmt::format("{}: {} gave up: {}", ObjectName(), NameOf(member), member.failure())));
  members_[member.rank()] = member;
  changed_.notify_all();
}

void Rendezvous::OnMemberGone(const store::ObjectMember& member) {
  std::lock_guard lock(mutex_);
  auto known = members_.find(member.rank());
  if (known == members_.end() || known->second.epoch() != member.epoch()) return;
  if (lead_.complete()) {
    gone_.insert(member.rank());
    return;
  }
  members_.erase(known);
  FailLocked(Disconnected("{}: {} has died, or was stopped or cut off for too long", ObjectName(),
                          NameOf(member)));
}

void Rendezvous::OnLead(const store::ObjectLead& lead, std::int64_t revision) {
  std::lock_guard lock(mutex_);
  if (!begun_ && lead.failure_kind() != 0) {
    missed_ = lead;
    missed_revision_ = revision;
    return;
  }
  if (lead.epoch() == missed_.epoch()) return;  // told again, by a store that replaced another
  // another creation; this one has ended or will
  if (heard_.epoch() != 0 && lead.epoch() != heard_.epoch()) return;
  heard_ = lead;
  if (lead.failure_kind() != 0) {
    told_.Tell(options_.id, lead.epoch());
    FailLocked(Status(static_cast<Kind>(lead.failure_kind()), lead.failure()));
  }
  changed_.notify_all();
}

void Rendezvous::OnLeadGone(const store::ObjectLead& lead) {
  std::lock_guard lock(mutex_);
  if (heard_.epoch() == 0 || lead.epoch() != heard_.epoch() || heard_.complete()) return;
  if (!begun_) {
    heard_.Clear();
    return;
  }
  FailLocked(
      Disconnected("{}: rank 0 (host {}, pid {}) has died, or was stopped or cut off for too long",
                   ObjectName(), heard_.host_name(), heard_.pid()));
}

}  // namespace memfabric::shm
