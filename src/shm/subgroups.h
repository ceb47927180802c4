// shm/subgroups.h: groups of some of an object's ranks, named by a key. Members find each other in
// the store when the key is first used; from then on the group stands as long as the object.
//
// Owner: the object. Threads: any; forming one group doesn't hold up others.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.h"
#include "group/group.h"
#include "runtime/job.h"
#include "store/recipes/records.pb.h"

namespace memfabric::shm {

class Subgroups {
 public:
  // Both outlive this object.
  Subgroups(Job& job, group::Members& members, std::uint32_t object, std::uint64_t lead);
  ~Subgroups();  // Takes the records back.

  // The group of `key`, in which this rank is `rank` of `size`. Collective when it is first used.
  // DeadlineExceeded names the members that did not come. InvalidArgument: this rank, or another,
  // uses the key with other numbers (named). InUse: no more groups fit.
  Result<group::Group*> Find(const std::string& key, std::uint32_t size, Rank rank,
                             Deadline deadline);

  void Linger(Deadline deadline);

 private:
  struct Subgroup {
    std::uint32_t size = 0;
    Rank rank = kNoRank;
    std::uint32_t channel = 0;
    bool forming = false;
    bool published = false;
    std::unique_ptr<group::Group> group;
  };
  Result<std::unique_ptr<group::Group>> Form(const std::string& key, Subgroup& subgroup,
                                             Deadline deadline);

  // Why those of `size` members who have not come can't: who has gone of the object. With
  // `lost_one`, whoever went last.
  Status TooFew(const std::map<Rank, store::GroupMember>& come, std::uint32_t size,
                bool lost_one) const;

  Job& job_;
  group::Members& members_;
  const std::uint32_t object_;
  const std::uint64_t lead_;
  // guards what follows; not what a Subgroup holds while it is forming: that is the thread's that
  // forms it
  std::mutex mutex_;
  std::condition_variable formed_;
  std::map<std::string, Subgroup> subgroups_;
  // never given back: somebody may still write to it. 0 is the object's own
  std::uint32_t next_channel_ = 1;
};

}  // namespace memfabric::shm
