// shm/rendezvous.h: how the ranks of an object find each other in the store, from the call of
// create to its return.
//
//   rank 0                                     the others
//   chooses the window, publishes the lead     publish that they have come, wait for the lead
//   waits until all follow                     map, open their ports, publish that they follow
//   says that all are there, and who they are
//
// From then on nobody needs the store: while hundreds of ranks link each other on a few processors,
// leases end of ranks that are well. What is left of the store is rank 0's list of those whose
// records have gone, and whom it had better look at.
//
// Whoever fails writes why into its record; rank 0, who sees all records, makes that the lead's
// failure, and all others end with it. So every rank hears the same, and everybody watches one
// record, rank 0 all: the cost grows linearly.
//
// Records are taken back when create ends, well or not, but for two. Rank 0 keeps the one of the
// window's place while it has the object. And when it fails before all have come, for another
// reason than that, the lead stays until its next create of the id, or the end of its session: for
// those that are absent. Such a rank, if it had its place in the job by then, ends the first
// create that it comes with by that failure.
//
// Owner: the object's Create, for its duration. Threads: Create's own and the store client's.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "address/pool_layout.h"
#include "address/window.h"
#include "base/status.h"
#include "runtime/job.h"
#include "shm/config.h"
#include "store/recipes/directory.h"
#include "store/recipes/records.h"

namespace memfabric::shm {

// Where the object's window lies, as rank 0 records it.
store::WindowRecord WindowRecordOf(const Job& job, const CreateOptions& options,
                                   const PoolLayout& layout);

// The failures that this process has been told of, so that it ends no second create by one. Any
// thread.
class ToldFailures {
 public:
  // Whether this is news: the failure of the creation of object `id` that `lead` names.
  bool Tell(std::uint32_t id, std::uint64_t lead) {
    std::lock_guard lock(mutex_);
    return std::exchange(latest_[id], lead) != lead;
  }

 private:
  std::mutex mutex_;
  std::map<std::uint32_t, std::uint64_t> latest_;  // by id
};

class Rendezvous {
 public:
  // `on_failure` hears once, from another thread, that create can't succeed any more. `told`
  // outlives the rendezvous.
  Rendezvous(Job& job, const CreateOptions& options, ToldFailures& told,
             std::function<void(const Status&)> on_failure);
  ~Rendezvous();  // Takes this rank's records back.

  // Comes, and agrees on where the window lies; `choose` is asked on rank 0, with the windows that
  // others have. Sets lead() and layout.base.
  using Choose = std::function<Result<std::uint64_t>(std::span<const AddressSpan> others)>;
  Status Begin(PoolLayout& layout, const Choose& choose, Deadline deadline);
  // This rank has mapped and can be reached.
  Status Follow(const std::map<std::string, std::string>& transports, Deadline deadline);
  // Waits until all do; their records, by rank. DeadlineExceeded names the missing. Afterwards
  // leases count for nothing.
  Result<std::vector<store::ObjectMember>> AwaitAll(Deadline deadline);

  // On rank 0: whose records have gone since all were there: they died, or were too busy to renew
  // their leases.
  std::set<Rank> Gone() const;

  // What has gone wrong anywhere so far.
  Status failure() const;
  // Tells the others that this rank's create fails; returns what this rank's caller should hear: if
  // another one failed first, that.
  Status Fail(const Status& why);

  // Epoch of the lead: names this creation among all of the id.
  std::uint64_t lead() const { return lead_.epoch(); }
  std::uint32_t processors() const { return lead_.processors(); }
  std::uint64_t epoch() const { return own_.epoch(); }

 private:
  bool leads() const { return options_.rank == 0; }
  std::string ObjectName() const;
  Status Persist(const std::string& key, const google::protobuf::Message& record,
                 Deadline deadline);
  Status PlaceWindow(PoolLayout& layout, const Choose& choose, Deadline deadline);
  Status FollowDirectory(Deadline deadline);
  // What this rank has come too late for.
  Status MissedFailure(Deadline deadline);
  // A lead that failed, of other processes as a rule: makes place. False: it is none.
  Result<bool> ReplaceFailedLead(Deadline deadline);
  void OnMember(const store::ObjectMember& member);
  void OnMemberGone(const store::ObjectMember& member);
  void OnLead(const store::ObjectLead& lead, std::int64_t revision);
  void OnLeadGone(const store::ObjectLead& lead);
  void FailLocked(const Status& why);  // REQUIRES: mutex_
  // Waits for `done`, a failure or the deadline. `done` is called with mutex_ held.
  Status Wait(Deadline deadline, const std::function<bool()>& done);
  Status NameMissing(Deadline deadline);

  Job& job_;
  const CreateOptions options_;
  ToldFailures& told_;
  const std::function<void(const Status&)> on_failure_;
  store::ObjectMember own_;
  store::ObjectLead lead_;  // as agreed on
  std::vector<std::string> published_;
  bool keeps_lead_ = false;  // for those that were absent

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool begun_ = false;                           // what is heard from now on is about this creation
  std::map<Rank, store::ObjectMember> members_;  // as rank 0 sees them
  std::set<Rank> seen_;                          // whoever has come, also if it has gone since
  std::set<Rank> gone_;
  store::ObjectLead heard_;           // as the others do; epoch 0: nothing yet
  store::ObjectLead missed_;          // one that had failed before this rank came
  std::int64_t missed_revision_ = 0;  // the store's at its failure
  Status failure_;
  std::unique_ptr<store::Directory> directory_;  // ends first
};

}  // namespace memfabric::shm
