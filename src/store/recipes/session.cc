#include "store/recipes/session.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "base/wait.h"

namespace memfabric::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How long one keep-alive may take before the connection is doubted; twice fits into the time to
// live.
constexpr milliseconds kKeepAliveTimeout{1400};
constexpr milliseconds kRevokeTimeout{1000};
constexpr milliseconds kGrantTimeout{2000};
constexpr milliseconds kRetryPeriod{100};
constexpr milliseconds kExplainTimeout{50};
// etcd's limit is 128 operations a transaction.
constexpr std::size_t kRecordsATransaction = 64;

Transaction IfAbsent(const std::string& key, const std::string& value, LeaseId lease) {
  return {.conditions = {{.target = Compare::Target::kCreateRevision, .key = key, .operand = 0}},
          .then = {{.type = Operation::Type::kPut, .key = key, .value = value, .lease = lease}},
          .otherwise = {{.type = Operation::Type::kGet, .key = key}}};
}

Transaction IfOwn(const std::string& key, LeaseId lease, Operation operation) {
  return {.conditions = {{.target = Compare::Target::kLease, .key = key, .operand = lease}},
          .then = {std::move(operation)},
          .otherwise = {{.type = Operation::Type::kGet, .key = key}}};
}

const KeyValue* OnlyEntry(const TransactionResult& result) {
  if (result.gets.empty() || result.gets[0].entries.empty()) return nullptr;
  return &result.gets[0].entries[0];
}

class LeasedSession final : public Session {
 public:
  LeasedSession(Client& client, SessionObserver* observer, LeaseId lease, StoreIdentity identity)
      : client_(client), observer_(observer), lease_(lease), identity_(identity) {
    connection_watch_ = client_.WatchConnection([this](bool answers) {
      MutexLock lock(mutex_);
      answers_ = answers;
      if (answers) due_ = steady_clock::now();
      changed_.NotifyAll();
    });
    // A store that was lost before the watch stood is found by the first keep-alive.
  }

  Status Start() {
    MutexLock lock(mutex_);  // so that the thread finds thread_ assigned
    ASSIGN_OR_RETURN(thread_, Thread::Start("mf-session", [this] { KeepAlive(); }));
    return Ok();
  }

  ~LeasedSession() override {
    connection_watch_.reset();
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    thread_.Join();
    if (!answers_) return;  // the lease ends by itself, or has ended with its store
    Status revoked = client_.RevokeLease(lease_, steady_clock::now() + kRevokeTimeout);
    if (!revoked.ok() && !IsNotFound(revoked))
      LOG(kDebug, "session: its lease ends by itself: {}", revoked.message());
  }

  LeaseId lease() const override {
    MutexLock lock(mutex_);
    return lease_;
  }

  Status Explain(Status failure) const override {
    if (!IsDisconnected(failure) && !IsDeadlineExceeded(failure)) return failure;
    MutexLock lock(mutex_);
    if (!overdue_) return failure;
    return Reconnect(
        "this process's lease could not be renewed for {:.0f} s, so the others may have given it "
        "up; it comes back by itself when the store answers: {}",
        Seconds(steady_clock::now() - renewed_), failure.message());
  }

  Status Publish(std::string_view key_view, std::string_view value_view,
                 Deadline deadline) override {
    const std::string key(key_view);
    const std::string value(value_view);
    const auto life = Life();
    for (bool own = Owns(key);;) {
      ASSIGN_OR_RETURN(LeaseId lease, AwaitLease(deadline));
      if (Life() != life)
        return Reconnect("publish {}: this process was given up by the store meanwhile", key);
      Operation put{.type = Operation::Type::kPut, .key = key, .value = value, .lease = lease};
      auto result =
          client_.Commit(own ? IfOwn(key, lease, put) : IfAbsent(key, value, lease), deadline);
      if (!result.ok()) {
        RETURN_IF_ERROR(PauseBeforeRetry(result.status(), lease, deadline));
        own = Owns(key);
        continue;
      }
      MutexLock lock(mutex_);
      if (lease_ != lease) continue;  // it went to a store, or under a lease, that is no more
      if (result->succeeded) {
        records_[key] = value;
        return Ok();
      }
      const KeyValue* holder = OnlyEntry(*result);
      if (holder != nullptr && holder->lease != lease)
        return AlreadyExists("{} is held by somebody else (lease {:x})", key,
                             static_cast<std::uint64_t>(holder->lease));
      own = holder != nullptr;
    }
  }

  Status Withdraw(std::string_view key_view, Deadline deadline) override {
    const std::string key(key_view);
    for (;;) {
      ASSIGN_OR_RETURN(LeaseId lease, AwaitLease(deadline));
      {
        MutexLock lock(mutex_);
        if (lease_ != lease || republishing_) continue;
        records_.erase(key);  // first, so that nothing publishes it again
      }
      auto result = client_.Commit(
          IfOwn(key, lease, {.type = Operation::Type::kDelete, .key = key}), deadline);
      if (result.ok()) return Ok();
      RETURN_IF_ERROR(PauseBeforeRetry(result.status(), lease, deadline));
    }
  }

  Result<TransactionResult> Commit(const Transaction& transaction, Deadline deadline) override {
    ASSIGN_OR_RETURN(LeaseId lease, AwaitLease(deadline));
    auto result = client_.Commit(transaction, deadline);
    MutexLock lock(mutex_);
    const auto& branch =
        result.ok() && !result->succeeded ? transaction.otherwise : transaction.then;
    if (!result.ok()) {
      if (!IsNotFound(result.status())) return result;
      due_ = steady_clock::now();  // the thread finds out why
      changed_.NotifyAll();
      return Reconnect("the session's lease has ended meanwhile: {}", result.status().message());
    }
    bool writes = std::ranges::any_of(
        branch, [](const auto& operation) { return operation.type != Operation::Type::kGet; });
    if (lease_ != lease && writes) return Reconnect("the session got another lease meanwhile");
    for (const auto& operation : branch) {
      if (operation.type == Operation::Type::kPut && operation.lease == lease_)
        records_[operation.key] = operation.value;
      if (operation.type == Operation::Type::kDelete)
        std::erase_if(records_, [&](const auto& record) {
          return operation.prefix ? record.first.starts_with(operation.key)
                                  : record.first == operation.key;
        });
    }
    return result;
  }

 private:
  using Records = std::map<std::string, std::string>;

  static double Seconds(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
  }

  bool Owns(const std::string& key) const {
    MutexLock lock(mutex_);
    return records_.contains(key);
  }

  // Counts how often the store has given this process up.
  std::uint64_t Life() const {
    MutexLock lock(mutex_);
    return life_;
  }

  // The lease, once the records stand in the store that answers.
  Result<LeaseId> AwaitLease(Deadline deadline) {
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(WaitUntil(mutex_, changed_, deadline, [&]() REQUIRES(mutex_) {
                      return !republishing_;
                    }).WithContext("publishing again in the store that answers now"));
    return lease_;
  }

  // Ok when the call may be tried again: the connection was lost on the way, or the lease that it
  // was made under has ended.
  Status PauseBeforeRetry(const Status& failure, LeaseId lease, Deadline deadline) {
    if (steady_clock::now() >= deadline) return failure;
    if (IsDisconnected(failure)) return Ok();  // the client waits for the connection
    if (!IsNotFound(failure) || thread_.IsCurrent()) return failure;
    MutexLock lock(mutex_);
    due_ = steady_clock::now();  // the thread finds out why
    changed_.NotifyAll();
    Status waited =
        WaitUntil(mutex_, changed_, deadline, [&]() REQUIRES(mutex_) { return lease_ != lease; });
    return IsInterrupted(waited) ? waited : waited.ok() ? Ok() : failure;
  }

  void KeepAlive() {
    CancelScope scope(stopping_);
    MutexLock lock(mutex_);
    while (!stopping_) {
      if (!answers_ || steady_clock::now() < due_) {
        const TimePoint overdue_at = renewed_ + kSessionTimeToLive;
        if (!overdue_ && steady_clock::now() >= overdue_at) {
          lock.Unlock();
          SayOverdue();
          lock.Lock();
        } else if (answers_) {
          changed_.WaitUntil(mutex_, overdue_ ? due_ : std::min(due_, overdue_at));
        } else if (overdue_) {
          changed_.Wait(mutex_);
        } else {
          changed_.WaitUntil(mutex_, overdue_at);
        }
        continue;
      }
      due_ = steady_clock::now() + kKeepAlivePeriod;
      LeaseId lease = lease_;
      lock.Unlock();
      Check(lease);
      lock.Lock();
    }
  }

  // Once for each time that the store is out of reach for longer than the lease lives.
  void SayOverdue() {
    Status why = client_.KeepLeaseAlive(lease(), steady_clock::now() + kExplainTimeout).status();
    if (why.ok()) return Renewed();
    if (IsNotFound(why)) return RetrySoon();  // the store answers: the next look tells what follows
    double seconds = 0;
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      overdue_ = true;
      seconds = Seconds(steady_clock::now() - renewed_);
    }
    LOG(kError,
        "session: the lease of {} s has not been renewed for {:.1f} s ({}). If the store goes on "
        "without this process, the "
        "others have given it up; copies to peers that can be reached go on. It comes back by "
        "itself when the store answers",
        kSessionTimeToLive.count(), seconds, why.message());
  }

  void Renewed() {
    const TimePoint now = steady_clock::now();
    MutexLock lock(mutex_);
    const TimePoint before = std::exchange(renewed_, now);
    if (!std::exchange(overdue_, false)) return;
    lock.Unlock();
    LOG(kWarn, "session: the store answers again, after {:.1f} s", Seconds(now - before));
  }

  // One look at the lease, and what follows from it.
  void Check(LeaseId lease) {
    StoreIdentity identity = client_.identity();
    bool same = SameStore();
    if (!same && Republishing()) return Republish();
    auto left = client_.KeepLeaseAlive(lease, steady_clock::now() + kKeepAliveTimeout);
    // A store that knows the lease, whose number is random, is the one that granted it, whatever
    // the client takes it for: a cluster's members needn't agree on its term at every moment.
    if (left.ok()) {
      Renewed();
      return Recognize(identity);
    }
    if (!IsNotFound(left.status())) return RetrySoon();
    if (!same || !SameStore()) return Republish();
    GiveUp();
  }

  bool Republishing() const {
    MutexLock lock(mutex_);
    return republishing_;
  }

  void Recognize(const StoreIdentity& identity) {
    if (client_.identity() != identity) return;  // it was one or the other: the next look tells
    MutexLock lock(mutex_);
    identity_ = identity;
  }

  bool SameStore() const {
    MutexLock lock(mutex_);
    return !republishing_ && client_.identity() == identity_;
  }

  StoreIdentity granter() const {
    MutexLock lock(mutex_);
    return identity_;
  }

  void RetrySoon() {
    MutexLock lock(mutex_);
    due_ = steady_clock::now() + kRetryPeriod;
  }

  enum class Because { kGivenUp, kReplaced };

  // A lease of the store that answers now. False: none for the moment.
  bool Renew(Because because) {
    StoreIdentity identity = client_.identity();
    auto lease = client_.GrantLease(kSessionTimeToLive, steady_clock::now() + kGrantTimeout);
    if (!lease.ok() || client_.identity() != identity) return false;
    Renewed();
    MutexLock lock(mutex_);
    lease_ = *lease;
    identity_ = identity;
    if (because == Because::kGivenUp) {
      records_.clear();
      ++life_;
    }
    changed_.NotifyAll();
    return true;
  }

  // The lease ended in a store that went on.
  void GiveUp() {
    if (!Renew(Because::kGivenUp)) return RetrySoon();
    LOG(kWarn, "session: given up by the store: its lease was not renewed for {} s",
        kSessionTimeToLive.count());
    if (observer_ != nullptr) observer_->OnGivenUp();
  }

  // Another store answers.
  void Republish() {
    Records records;
    {
      MutexLock lock(mutex_);
      republishing_ = true;
      records = records_;
    }
    std::vector<std::string> lost;
    bool done = LeaseForRepublishing() && PutAll(records, &lost);
    {
      MutexLock lock(mutex_);
      if (!done) {
        due_ = steady_clock::now() + kRetryPeriod;
        return;  // republishing_ stays: the next look begins anew
      }
      for (const auto& key : lost) records_.erase(key);
      republishing_ = false;
      changed_.NotifyAll();
    }
    LOG(kInfo, "session: {} records published again in the store that answers now, {} lost",
        records.size() - lost.size(), lost.size());
    if (observer_ != nullptr) observer_->OnRepublished(lost);
  }

  // The last attempt's, when that got one in this store: records stand under it.
  bool LeaseForRepublishing() {
    if (client_.identity() == granter()) {
      auto left = client_.KeepLeaseAlive(lease(), steady_clock::now() + kKeepAliveTimeout);
      if (!IsNotFound(left.status())) return left.ok();
    }
    return Renew(Because::kReplaced);
  }

  bool PutAll(const Records& records, std::vector<std::string>* lost) {
    const LeaseId own = lease();
    for (auto next = records.begin(); next != records.end();) {
      auto begin = next;
      Transaction all;
      for (; next != records.end() && all.then.size() < kRecordsATransaction; ++next) {
        auto one = IfAbsent(next->first, next->second, own);
        all.conditions.push_back(one.conditions[0]);
        all.then.push_back(one.then[0]);
      }
      auto result = client_.Commit(all, steady_clock::now() + kGrantTimeout);
      if (!result.ok()) return false;
      if (result->succeeded) continue;
      for (auto record = begin; record != next; ++record) {  // somebody holds one of them: which
        auto single = client_.Commit(IfAbsent(record->first, record->second, own),
                                     steady_clock::now() + kGrantTimeout);
        if (!single.ok()) return false;
        const KeyValue* holder = OnlyEntry(*single);
        if (!single->succeeded && (holder == nullptr || holder->lease != own))
          lost->push_back(record->first);
      }
    }
    return true;
  }

  Client& client_;
  SessionObserver* const observer_;

  mutable Mutex mutex_;
  CondVar changed_;
  LeaseId lease_ GUARDED_BY(mutex_);
  StoreIdentity identity_ GUARDED_BY(mutex_);  // of the store that granted it
  std::uint64_t life_ GUARDED_BY(mutex_) = 0;
  Records records_ GUARDED_BY(mutex_);
  // another store answers, and the records don't all stand there yet
  bool republishing_ GUARDED_BY(mutex_) = false;
  bool answers_ GUARDED_BY(mutex_) = true;
  // when the lease was granted, or renewed last
  TimePoint renewed_ GUARDED_BY(mutex_) = steady_clock::now();
  bool overdue_ GUARDED_BY(mutex_) = false;  // its time has passed since, and that was said
  std::atomic<bool> stopping_{false};        // atomic: also looked at by the thread's waits
  TimePoint due_ GUARDED_BY(mutex_) = steady_clock::now() + kKeepAlivePeriod;

  std::unique_ptr<Watch> connection_watch_;
  Thread thread_;
};

}  // namespace

Result<std::unique_ptr<Session>> Session::Open(Client& client, SessionObserver* observer,
                                               Deadline deadline) {
  for (;;) {
    StoreIdentity identity = client.identity();
    ASSIGN_OR_RETURN(LeaseId lease, client.GrantLease(kSessionTimeToLive, deadline));
    if (client.identity() != identity) continue;  // which of the two granted it?
    auto session = std::make_unique<LeasedSession>(client, observer, lease, identity);
    RETURN_IF_ERROR(session->Start());
    return std::unique_ptr<Session>(std::move(session));
  }
}

}  // namespace memfabric::store
