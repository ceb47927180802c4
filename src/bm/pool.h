// bm/pool.h: one pool as this process holds it: its window, what it contributes, its peers, and
// copies.
//
// Life: Create reserves the window and the memory; Join makes them part of the pool and links every
// rank that is there; Leave undoes that; Close ends everything (the window itself lives on while
// views hold it).
//
// Owner: the service's table of pools (capi/places.h); shared with control calls that are under
// way.
// Threads: any. Copies and look-ups run inside the ReadGate and take no lock; Join, Leave, Extend,
// Close and the return of a process that was given up take control_ and never enter the gate.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/read_gate.h"
#include "base/status.h"
#include "base/wait.h"
#include "base/work_queue.h"
#include "bm/config.h"
#include "bm/events.h"
#include "bm/orphans.h"
#include "bm/peers.h"
#include "bm/registrations.h"
#include "bm/window_agreement.h"
#include "copy/engine.h"
#include "copy/lanes.h"
#include "copy/reach.h"
#include "memory/segment.h"
#include "runtime/job.h"
#include "runtime/runtime.h"
#include "store/recipes/directory.h"
#include "transport/detours.h"
#include "transport/transport.h"

namespace memfabric::bm {

inline Deadline After(std::chrono::nanoseconds period) {
  return std::min(std::chrono::steady_clock::now() +
                      std::chrono::duration_cast<std::chrono::steady_clock::duration>(period),
                  CallDeadline());
}

struct CopyOptions {
  bool asynchronous = false;
};

class Pool {
 public:
  // `device_node`: the NUMA node of the process's device. `gate` belongs to the pool's place in the
  // table: look-ups of the pool and its copies run inside it.
  static Result<std::shared_ptr<Pool>> Create(Job& job, Runtime& runtime, const InitOptions& init,
                                              unsigned device_node, const CreateOptions& options,
                                              ReadGate& gate);
  ~Pool();

  // docs/failure.md has the cases. Join and Leave as docs/contract/python.md §2; NotStarted:
  // leaving without having joined.
  Status Join();
  Status Leave();
  // Adds `bytes` to what this rank contributes.
  Status Extend(Zone zone, std::uint64_t bytes);
  // Ends queued copies, leaves, takes the records back. Idempotent; later calls on the pool fail
  // with NotFound. REQUIRES: nobody is inside the gate with this pool, nor can get there.
  void Close();

  // REQUIRES for what follows up to Translate: inside the gate.
  // Copies to ranks that aren't linked fail with Disconnected; CopyOrLink may help.
  Status Copy(const copy::CopyRequest& request, copy::Direction direction, CopyOptions options);
  Status CopyBatch(const copy::BatchRequest& batch, copy::Direction direction, CopyOptions options);
  // 0 for a rank outside the pool or a zone of size 0.
  std::uint64_t SlotAddress(Zone zone, Rank rank) const {
    const PoolLayout& layout = reach_->layout();
    if (rank >= layout.world_size || layout.max_bytes[Index(zone)] == 0) return 0;
    return layout.SlotAddress(zone, rank).value;
  }
  Rank RankOf(std::uint64_t address) const;  // kNoRank for none
  std::uint64_t LocalBytes(Zone zone) const;
  // Where this process can touch what is at `address` by loads and stores.
  Result<std::byte*> Translate(std::uint64_t address) const;

  // A copy met ranks that aren't linked: looks in the store whether they are there, and links them.
  // True when the copy should be tried again. REQUIRES: not inside the gate, because linking may
  // have to wait for everybody who is.
  bool LinkMissing(const copy::BatchRequest& batch);

  Status WaitQueued();
  Status Register(std::uint64_t address, std::uint64_t size_bytes) {
    return registrations_.Register(address, size_bytes);
  }
  Status Deregister(std::uint64_t address) { return registrations_.Deregister(address); }
  void SetEventHandler(GroupEventHandler handler) { events_.Set(std::move(handler)); }
  Result<std::string> Path(Rank rank) const;
  std::vector<Member> Members();
  std::vector<copy::RankCounts> Stats() const { return reach_->counters().Read(); }
  Result<Window::View> OpenView(Zone zone, Rank rank) const;
  std::uint32_t id() const { return options_.id; }

  // What the job hears; from its threads.
  void OnGivenUp(const Status& why);
  // An error: it is not back yet; called again. A pool that is back already stays as it is.
  Status OnReturned();
  void OnReplaced(const Status& why);

 private:
  Pool(Job& job, Runtime& runtime, const InitOptions& init, unsigned device_node,
       const CreateOptions& options, ReadGate& gate);
  Status Prepare(Deadline deadline);
  Status MakeSegments();
  // Runs a call that waits; ends it when the pool is destroyed meanwhile.
  Status OrDestroyed(const std::function<Status()>& call);
  Status JoinLocked(Deadline deadline);  // REQUIRES: control_
  // REQUIRES: control_. `given_up`: the others did that, as opposed to what this process asks for.
  void LeaveLocked(const Status& why, bool given_up = false);
  void Withdraw(const std::string& key);  // a record of ours in the store
  Status OpenPorts();
  Status PublishMember(Deadline deadline);
  Status LinkEverybody(Deadline deadline);
  // Whether the record of this epoch has gone, which others see before this process hears of it.
  bool GivenUp(Deadline deadline);
  // One try, over the best transport that reaches each. The failure that says most; `detoured` gets
  // the ranks of which a refusal proves nothing.
  Status LinkMembers(const std::vector<store::PoolRecord>& members, Deadline deadline,
                     std::set<Rank>* detoured = nullptr);
  void OnLinkBroke();
  // Until nothing is broken any more.
  Status Relink();
  bool RelinkOnce();  // false: there is nothing to link again
  // control_, which a try to relink gives up soon.
  std::unique_lock<std::mutex> LockControl();
  std::string PoolName() const;
  // What an asynchronous copy concerns.
  copy::Footprint FootprintOf(const copy::BatchRequest& batch) const;
  // Unsupported: the rank is linked by something that has no loads and stores.
  Status CheckLoadStore(Rank rank) const;
  Status NotJoined() const;

  Job& job_;
  Runtime& runtime_;
  const InitOptions init_;
  const unsigned device_node_;
  const CreateOptions options_;
  ReadGate& gate_;
  const std::chrono::seconds timeout_;  // of operations

  PoolWindow agreed_;
  std::array<std::unique_ptr<Segment>, kZones> segments_;  // null where the pool has no such zone
  std::unique_ptr<copy::Reach> reach_;
  std::unique_ptr<copy::CopyEngine> engine_;
  Registrations registrations_;
  Events events_;
  std::shared_ptr<Orphans> orphans_;  // shared with its timers
  std::unique_ptr<PoolPeers> peers_;
  transport::Detours detours_;
  copy::Lanes lanes_;
  std::atomic<bool> relink_queued_{false};    // and hasn't begun to look yet
  std::atomic<bool> relink_unwanted_{false};  // somebody wants control_

  std::mutex control_;  // guards what follows
  bool joined_ = false;
  // joined when the others gave this process up: joins again when it returns
  bool wants_joined_ = false;
  bool window_published_ = false;
  std::uint64_t epoch_ = 0;
  transport::Ports ports_;
  std::unique_ptr<store::Directory> directory_;

  std::atomic<bool> closing_{false};
  mutable std::mutex away_mutex_;
  // while the others have given this process up: what control calls return; guarded by away_mutex_
  Status away_;
  bool replaced_ = false;       // for good; guarded by away_mutex_
  bool return_failed_ = false;  // since it was given up; guarded by away_mutex_

  // held while closing_ becomes true; guards the next
  std::mutex relink_mutex_;
  transport::Reactor::TimerId relink_retry_ = 0;  // the machine refused the thread
  WorkQueue relinks_{"mf-relinks"};               // ends first: it uses the rest
};

// `copy()` of `batch` inside the pool's gate, and once more when it met a rank without a link that
// turned out to be there. `with_pool(call)` returns call(pool), outside the gate.
template <typename Copy, typename WithPool>
Status CopyOrLink(const copy::BatchRequest& batch, Copy&& copy, WithPool&& with_pool) {
  Status status = copy();
  if (!IsDisconnected(status)) return status;
  Status found =
      with_pool([&](Pool& pool) -> Status { return pool.LinkMissing(batch) ? Ok() : status; });
  return found.ok() ? copy() : status;
}

}  // namespace memfabric::bm
