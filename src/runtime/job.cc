#include "runtime/job.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/timed_wait.h"
#include "base/wait.h"
#include "store/recipes/host_identity.h"
#include "store/recipes/records.h"

namespace memfabric {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kRecoveryPoll{100};     // only while a takeover is being recovered from
constexpr std::chrono::seconds kReturnTry{5};  // one try to take the rank again
// Between tries. When a crowd comes back at once, each try loads all the others, who then fail.
constexpr milliseconds kFirstReturnBackoff{500};
constexpr milliseconds kLastReturnBackoff{8000};
constexpr milliseconds kTakeoverRetry{500};  // when the machine refused the thread for it
// given up again sooner than this: that was a failed try as well
constexpr std::chrono::seconds kSettled{10};

// A store that one host serves goes with it.
Status AdviseEtcd(Status status, const StoreUrl& url) {
  if (!IsDeadlineExceeded(status) || url.scheme != StoreUrl::Scheme::kTcp) return status;
  return DeadlineExceeded(
      "{}; if the host that serves it is gone, ranks can join again only with another store: an "
      "etcd cluster "
      "(etcd://) outlives the loss of a host",
      status.message());
}

}  // namespace

Job::Job(const JobOptions& options, transport::Reactor& reactor, JobObserver& observer)
    : options_(options),
      reactor_(reactor),
      observer_(observer),
      host_(store::HostIdentity()),
      host_name_(store::HostName()),
      keys_(options.url.prefix, options.service),
      url_(options.url),
      backoff_(kFirstReturnBackoff, kLastReturnBackoff) {}

Result<std::unique_ptr<Job>> Job::Open(const JobOptions& options, transport::Reactor& reactor,
                                       JobObserver& observer, Deadline deadline) {
  std::unique_ptr<Job> job(new Job(options, reactor, observer));
  ASSIGN_OR_RETURN(job->liveness_, transport::LivenessSocket::Bind(reactor));
  if (options.start_store && options.url.scheme == StoreUrl::Scheme::kTcp) {
    bool first = !options.rank.has_value() || *options.rank == 0;
    auto serve = options.serve.value_or(first ? store::Serve::kNow : store::Serve::kWhenOrphaned);
    ASSIGN_OR_RETURN(job->store_host_,
                     store::StoreHost::Start(options.url, serve, options.tls, deadline));
  }
  auto client = store::Client::Connect(options.url, {.tls = options.tls}, deadline);
  if (!client.ok()) return AdviseEtcd(std::move(client).status(), options.url);
  job->client_ = std::move(*client);
  job->connection_watch_ = job->client_->WatchConnection([raw = job.get()](bool answers) {
    raw->store_answers_ = answers;
    if (!answers) raw->OnStoreLost();
  });
  RETURN_IF_ERROR(job->AwaitRecovered(deadline));
  ASSIGN_OR_RETURN(job->session_, store::Session::Open(*job->client_, job.get(), deadline));
  RETURN_IF_ERROR(job->Claim(deadline));
  return job;
}

Job::~Job() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  auto cancel = [this](transport::Reactor::TimerId& timer) {
    std::unique_lock lock(mutex_);
    const auto id = timer;
    lock.unlock();  // what runs now may want it
    reactor_.Cancel(id);
  };
  cancel(return_retry_);  // no other is set: the job is closing
  cancel(takeover_retry_);
  returning_.Join();
  session_.reset();   // no observer call follows
  returning_.Join();  // a return that began while the session closed
  connection_watch_.reset();
  client_.reset();
  std::lock_guard lock(host_mutex_);
  store_host_.reset();
}

Status Job::Claim(Deadline deadline) {
  if (options_.claim) return options_.claim(*this, deadline);
  store::ClaimOptions claim;
  claim.rank = rank_ == kNoRank ? options_.rank : std::optional<Rank>(rank_);
  claim.world_size = options_.world_size;
  claim.record.set_protocol(kMemberProtocol);
  claim.record.set_epoch(NextEpoch());
  claim.record.set_host(host_);
  claim.record.set_host_name(host_name_);
  claim.record.set_pid(::getpid());
  claim.record.set_liveness(liveness_->name());
  claim.record.set_world_size(options_.world_size);
  claim.is_alive = transport::IsAlive;
  ASSIGN_OR_RETURN(Rank claimed, store::ClaimRank(*client_, *session_, keys_, claim, deadline));
  // else it is the same one: read by other threads, written once
  if (rank_ == kNoRank) rank_ = claimed;
  return Ok();
}

bool Job::ServesStore() const {
  std::lock_guard lock(host_mutex_);
  return store_host_ != nullptr && store_host_->serving();
}

StoreUrl Job::url() const {
  std::lock_guard lock(host_mutex_);
  return url_;
}

std::uint64_t Job::NextEpoch(std::uint64_t least) {
  auto now = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                            std::chrono::system_clock::now().time_since_epoch())
                                            .count());
  std::uint64_t last = last_epoch_.load();
  std::uint64_t next;
  do {
    next = std::max({now, last + 1, least});
  } while (!last_epoch_.compare_exchange_weak(last, next));
  return next;
}

Status Job::AwaitRecovered(Deadline deadline) {
  for (;;) {
    ASSIGN_OR_RETURN(auto recovering, client_->Get(keys_.Recovering(), deadline));
    if (!recovering.has_value()) return Ok();
    auto now = steady_clock::now();
    if (now >= deadline)
      return DeadlineExceeded("the store at {} was taken over and is still being filled again",
                              url().ToString());
    RETURN_IF_ERROR(PauseUntil(std::min(deadline, now + kRecoveryPoll)));
  }
}

void Job::OnStoreLost() {
  std::shared_ptr<store::StoreHost> host;
  {
    std::lock_guard lock(host_mutex_);
    host = store_host_;
  }
  if (host == nullptr) return;
  Status started = host->OnStoreLost();
  if (started.ok()) return;
  std::lock_guard lock(mutex_);
  if (closing_) return;
  if (takeover_retry_ == 0) LOG(kWarn, "the store can't be taken over yet: {}", started.message());
  takeover_retry_ = reactor_.CallAt(steady_clock::now() + kTakeoverRetry, [this] {
    if (!store_answers_) OnStoreLost();
  });
}

Status Job::MoveTo(const StoreUrl& url, Deadline deadline) {
  std::shared_ptr<store::StoreHost> former;
  std::shared_ptr<store::StoreHost> host;
  if (options_.start_store && url.scheme == StoreUrl::Scheme::kTcp) {
    ASSIGN_OR_RETURN(
        host, store::StoreHost::Start(url, store::Serve::kWhenOrphaned, options_.tls, deadline));
  }
  RETURN_IF_ERROR(client_->MoveTo(url, deadline));
  std::lock_guard lock(host_mutex_);
  url_ = url;
  // a store that we served stands no longer: everybody was told that it moved
  former = std::exchange(store_host_, host);
  return Ok();
}

void Job::OnGivenUp() {
  Status why = Reconnect(
      "the others gave this process up: it did not renew its lease of {} s (it was stopped, or cut "
      "off from the store); "
      "it "
      "is coming back as a new epoch",
      store::kSessionTimeToLive.count());
  observer_.OnGivenUp(why);
  StartReturn();
}

void Job::OnRepublished(const std::vector<std::string>& lost) {
  if (lost.empty()) return;
  for (const auto& key : lost)
    LOG(kWarn, "the store came back without {}, and another process has taken it", key);
  if (std::find(lost.begin(), lost.end(), ClaimedKey()) == lost.end()) return;
  observer_.OnGivenUp(
      Reconnect("{} was taken by another process while the store was away", ClaimedKey()));
  StartReturn();
}

void Job::StartReturn() {
  std::lock_guard lock(mutex_);
  if (closing_) return;
  return_wanted_ = true;
  if (returning_running_) return;  // it looks again before it ends
  returning_.Join();
  auto thread = Thread::Start("mf-return", [this] { Return(); });
  if (!thread.ok()) {
    auto pause = backoff_.Next();
    LOG(kWarn, "this process tries to come back again in {} ms: {}", pause.count(),
        thread.status().message());
    return_retry_ = reactor_.CallAt(steady_clock::now() + pause, [this] { StartReturn(); });
    return;
  }
  returning_running_ = true;
  returning_ = std::move(*thread);
}

void Job::Pause(std::unique_lock<std::mutex>& lock) {
  for (const auto until = steady_clock::now() + backoff_.Next();
       !closing_ && steady_clock::now() < until;)
    WaitOn(lock, changed_, until);
}

void Job::Return() {
  CancelScope scope(closing_);
  bool held = false;  // the rank
  std::unique_lock lock(mutex_);
  if (returned_ == TimePoint() || steady_clock::now() - returned_ >= kSettled) {
    backoff_.Reset();
  } else {
    Pause(lock);
  }
  for (;;) {
    if (return_wanted_) held = false;
    return_wanted_ = false;
    if (closing_) break;
    lock.unlock();
    Status status = held ? Ok() : Claim(steady_clock::now() + kReturnTry);
    held = status.ok();
    bool replaced = IsAlreadyExists(status);
    if (replaced)
      observer_.OnReplaced(Reconnect(
          "this process was given up, and meanwhile its place was taken: {}", status.message()));
    if (held) status = observer_.OnReturned();
    lock.lock();
    if (status.ok()) returned_ = steady_clock::now();
    if (!return_wanted_ && (replaced || status.ok())) break;
    Pause(lock);
  }
  returning_running_ = false;
}

}  // namespace memfabric
