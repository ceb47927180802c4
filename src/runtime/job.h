// runtime/job.h: this process's place in a job: a connection to the store, a session in it, and a
// rank (or, for an engine, a name).
//
// Services (bm, shm) build on it: they publish records under the session and hear when the others
// have given this process up (it was stopped past its lease). The job then takes its rank again by
// itself, on a thread of its own, and says so.
//
// Owner: a service. Threads: any; observer calls come one at a time, without locks held.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "address/global_address.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/url.h"
#include "store/client/client.h"
#include "store/recipes/keys.h"
#include "store/recipes/rank_claim.h"
#include "store/recipes/session.h"
#include "store/recipes/store_host.h"
#include "transport/liveness.h"
#include "transport/reactor.h"

namespace memfabric {

// of members among themselves, as their records say it
constexpr std::uint32_t kMemberProtocol = 1;

class Job;

struct JobOptions {
  StoreUrl url;
  std::string service;  // whose ranks these are (store/recipes/keys.h)
  std::uint32_t world_size = 0;
  std::optional<Rank> rank;  // none: assigned
  // of the store's connections; null: none. Shared with them
  std::shared_ptr<const store::TlsCredentials> tls{};
  // this process may serve the store, when it is rank 0 or ranks are assigned, and may take it over
  bool start_store = true;
  std::optional<store::Serve> serve;  // with start_store: when, if the rank doesn't decide

  // For places that are no ranks: takes the place under the job's session, at first and whenever
  // this process comes back after the others gave it up; `claimed_key` is then the place's. Not
  // called two times at once.
  std::function<Status(Job&, Deadline)> claim;
  std::string claimed_key;
};

class JobObserver {
 public:
  virtual ~JobObserver() = default;
  // The others have given this process up. Nothing it published stands any more; `why` is what its
  // calls return meanwhile.
  virtual void OnGivenUp(const Status& why) = 0;
  // The rank is held again: publish again, as a new epoch. An error: not all is back, and the job
  // calls again after a while.
  virtual Status OnReturned() = 0;
  // It is not: another process has the rank. Final.
  virtual void OnReplaced(const Status& why) = 0;
};

class Job final : public store::SessionObserver {
 public:
  // `observer` outlives the job.
  static Result<std::unique_ptr<Job>> Open(const JobOptions& options, transport::Reactor& reactor,
                                           JobObserver& observer, Deadline deadline);
  ~Job() override;

  Rank rank() const { return rank_; }  // kNoRank with JobOptions::claim
  std::uint32_t world_size() const { return options_.world_size; }
  const std::shared_ptr<const store::TlsCredentials>& tls() const { return options_.tls; }
  const std::string& host() const { return host_; }
  const std::string& host_name() const { return host_name_; }
  const store::Keys& keys() const { return keys_; }
  store::Client& client() { return *client_; }
  store::Session& session() { return *session_; }
  transport::Reactor& reactor() { return reactor_; }
  const std::string& liveness() const { return liveness_->name(); }
  // Whether this process serves the store, at which url.
  bool ServesStore() const;
  StoreUrl url() const;
  // Whether the store answered when last heard of.
  bool StoreAnswers() const { return store_answers_; }

  // Greater than any that this process has had, and at least `least`: microseconds of real time. So
  // it is also greater than those of processes that held the rank before, unless clocks differ or
  // were turned back.
  std::uint64_t NextEpoch(std::uint64_t least = 0);

  // After a takeover of the store's address: waits until everybody has had the time to publish
  // again.
  Status AwaitRecovered(Deadline deadline);

  // The store has moved.
  Status MoveTo(const StoreUrl& url, Deadline deadline);

  // store::SessionObserver
  void OnGivenUp() override;
  void OnRepublished(const std::vector<std::string>& lost) override;

 private:
  Job(const JobOptions& options, transport::Reactor& reactor, JobObserver& observer);
  Status Claim(Deadline deadline);
  std::string ClaimedKey() const {
    return options_.claim ? options_.claimed_key : keys_.Rank(rank_);
  }
  void OnStoreLost();
  void StartReturn();
  // Waits before the next try. REQUIRES: `lock` is held.
  void Pause(std::unique_lock<std::mutex>& lock);
  void Return();

  JobOptions options_;
  transport::Reactor& reactor_;
  JobObserver& observer_;
  std::string host_;
  std::string host_name_;
  store::Keys keys_;
  Rank rank_ = kNoRank;
  std::atomic<std::uint64_t> last_epoch_{0};
  std::unique_ptr<transport::LivenessSocket> liveness_;

  mutable std::mutex host_mutex_;  // guards the two below
  StoreUrl url_;
  // shared: OnStoreLost may run while MoveTo replaces it
  std::shared_ptr<store::StoreHost> store_host_;
  std::unique_ptr<store::Client> client_;
  std::atomic<bool> store_answers_{true};
  std::unique_ptr<store::Watch> connection_watch_;
  std::unique_ptr<store::Session> session_;  // ends before the client

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::atomic<bool> closing_{false};  // atomic: also looked at by waits
  bool return_wanted_ = false;
  bool returning_running_ = false;
  TimePoint returned_{};  // when it last was wholly back
  Backoff backoff_;       // by the thread only, or before it
  Thread returning_;
  // They start a thread later that the machine refused.
  transport::Reactor::TimerId return_retry_ = 0;
  transport::Reactor::TimerId takeover_retry_ = 0;
};

}  // namespace memfabric
