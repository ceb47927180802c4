#include "shm/subgroups.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "address/rank_list.h"
#include "base/log.h"
#include "base/wait.h"
#include "store/recipes/directory.h"
#include "store/recipes/records.h"

namespace memfabric::shm {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kWithdrawTimeout{2000};

std::string NameOf(std::uint32_t object, const std::string& key) {
  return fmt::format("sub-group '{}' of object {}", key, object);
}

// The members that have come so far. Its own mutex: written by the directory's thread.
struct Gathering {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<Rank, store::GroupMember> members;
  Status failure;
};

}  // namespace

Subgroups::Subgroups(Job& job, group::Members& members, std::uint32_t object, std::uint64_t lead)
    : job_(job), members_(members), object_(object), lead_(lead) {}

Subgroups::~Subgroups() {
  Deadline deadline = steady_clock::now() + kWithdrawTimeout;
  for (const auto& [key, subgroup] : subgroups_) {
    if (!subgroup.published) continue;
    Status withdrawn =
        job_.session().Withdraw(job_.keys().GroupMember(object_, key, subgroup.rank), deadline);
    if (!withdrawn.ok())
      LOG(kInfo, "{}: the store will forget this member when the lease ends", NameOf(object_, key));
  }
}

Result<group::Group*> Subgroups::Find(const std::string& key, std::uint32_t size, Rank rank,
                                      Deadline deadline) {
  if (size < 1 || size > kMaxWorldSize || rank >= size)
    return InvalidArgument("{}: rank {} of {} is none; sizes go from 1 to {}, ranks from 0",
                           NameOf(object_, key), rank, size, kMaxWorldSize);
  std::unique_lock lock(mutex_);
  if (!subgroups_.contains(key)) {
    if (next_channel_ == group::kChannels)
      return InUse(
          "{}: an object has at most {} sub-groups; destroy it and create it again for others",
          NameOf(object_, key), group::kChannels - 1);
    subgroups_[key] = Subgroup{.size = size,
                               .rank = rank,
                               .channel = next_channel_++,
                               .forming = false,
                               .published = false,
                               .group = nullptr};
  }
  Subgroup& subgroup = subgroups_[key];  // stays where it is
  if (subgroup.size != size || subgroup.rank != rank)
    return InvalidArgument(
        "{}: this rank ({}) has used it as rank {} of {} before, and now as rank {} of {}",
        NameOf(object_, key), members_.own(), subgroup.rank, subgroup.size, rank, size);
  RETURN_IF_ERROR(WaitUntil(lock, formed_, deadline, [&] { return !subgroup.forming; }));
  if (subgroup.group != nullptr) return subgroup.group.get();
  subgroup.forming = true;
  lock.unlock();
  auto group = Form(key, subgroup, deadline);
  lock.lock();
  subgroup.forming = false;
  formed_.notify_all();
  if (!group.ok()) return std::move(group).status();
  subgroup.group = std::move(*group);
  return subgroup.group.get();
}

Status Subgroups::TooFew(const std::map<Rank, store::GroupMember>& come, std::uint32_t size,
                         bool lost_one) const {
  std::size_t possible = members_.size();
  Status gone;
  for (Rank rank = 0; rank < members_.size(); ++rank) {
    Status why = members_.WhyGone(rank);
    bool has_come = std::any_of(come.begin(), come.end(), [&](const auto& entry) {
      return entry.second.object_rank() == rank;
    });
    if (why.ok() || has_come) continue;
    --possible;
    gone = std::move(why);
  }
  return possible < size || lost_one ? gone : Ok();
}

Result<std::unique_ptr<group::Group>> Subgroups::Form(const std::string& key, Subgroup& subgroup,
                                                      Deadline deadline) {
  const std::string name = NameOf(object_, key);
  Gathering gathering;
  store::Directory::Listener listener;
  listener.on_put = [&](const store::KeyValue& entry) {
    auto member = store::DecodeGroupMember(entry);
    if (!member.ok()) {
      LOG(kWarn, "{}", member.status().message());
      return;
    }
    if (member->lead() != lead_) return;  // of another creation of the object
    std::lock_guard lock(gathering.mutex);
    if (member->rank() >= member->rank_size() || member->object_rank() >= members_.size() ||
        member->channel() < 1 || member->channel() >= group::kChannels) {
      LOG(kWarn, "{}: {} is no member's", name, entry.key);
      return;
    }
    if (member->rank_size() != subgroup.size && gathering.failure.ok())
      gathering.failure = InvalidArgument(
          "{}: rank {} says that it has {} members, and this rank ({}) that it has {}", name,
          member->object_rank(), member->rank_size(), members_.own(), subgroup.size);
    gathering.members[member->rank()] = std::move(*member);
    gathering.changed.notify_all();
  };
  listener.on_removed = [](const store::KeyValue&) {};
  auto directory = store::Directory::Follow(job_.client(), job_.keys().Group(object_, key),
                                            std::move(listener), SteadyClock(), deadline);
  if (!directory.ok()) return job_.session().Explain(std::move(directory).status());
  store::GroupMember own;
  own.set_rank(subgroup.rank);
  own.set_lead(lead_);
  own.set_object_rank(members_.own());
  own.set_rank_size(subgroup.size);
  own.set_channel(subgroup.channel);
  own.set_processors(std::max(1u, std::thread::hardware_concurrency()));
  Status published = job_.session().Publish(job_.keys().GroupMember(object_, key, subgroup.rank),
                                            store::EncodeRecord(own), deadline);
  if (IsAlreadyExists(published))
    return AlreadyExists("{}: another rank of the object is its rank {} already", name,
                         subgroup.rank);
  RETURN_IF_ERROR(job_.session().Explain(std::move(published)));
  subgroup.published = true;

  // Who is still to come isn't known. Somebody's death meanwhile may have been a member's; earlier
  // ones are only counted.
  const std::uint32_t losses = members_.losses();
  std::unique_lock lock(gathering.mutex);
  Status hopeless;
  auto there = [&] {
    if (!gathering.failure.ok() || gathering.members.size() >= subgroup.size) return true;
    hopeless = TooFew(gathering.members, subgroup.size, members_.losses() != losses);
    return !hopeless.ok();
  };
  Status status;
  do {  // looks up now and then: a loss doesn't notify
    Deadline next = std::min<Deadline>(deadline, steady_clock::now() + kInterruptPeriod);
    status = WaitUntil(lock, gathering.changed, next, there);
  } while (IsDeadlineExceeded(status) && steady_clock::now() < deadline);
  RETURN_IF_ERROR(gathering.failure);  // of another size: so that below all ranks are below it
  if (gathering.members.size() < subgroup.size) {
    std::vector<Rank> missing;
    for (Rank rank = 0; rank < subgroup.size; ++rank)
      if (!gathering.members.contains(rank)) missing.push_back(rank);
    if (IsDeadlineExceeded(status))
      return DeadlineExceeded("{}: its rank(s) {} did not come within operation_timeout", name,
                              ListOf(missing));
    RETURN_IF_ERROR(status);
    return Disconnected("{}: its rank(s) {} have not come: {}; left are rank(s) {}", name,
                        ListOf(missing), hopeless.message(), members_.Left());
  }
  std::vector<group::Seat> seats;
  for (const auto& [rank, member] : gathering.members)
    seats.push_back({member.object_rank(), member.channel()});
  bool crowded = subgroup.size > gathering.members.begin()->second.processors();
  lock.unlock();
  directory->reset();
  return std::make_unique<group::Group>(members_, name, std::move(seats), subgroup.rank, crowded);
}

void Subgroups::Linger(Deadline deadline) {
  std::lock_guard lock(mutex_);
  for (auto& [key, subgroup] : subgroups_)
    if (subgroup.group != nullptr) subgroup.group->Linger(deadline);
}

}  // namespace memfabric::shm
