#include "store/recipes/store_host.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/backoff.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "base/wait.h"
#include "store/recipes/host_identity.h"
#include "store/recipes/session.h"

namespace memfabric::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How long whoever has the port is given to answer as a store before the port is tried again.
constexpr milliseconds kAnswerTimeout{1000};
// the kernel frees a dead process's port only after its memory
constexpr milliseconds kFirstRetry{10};
constexpr milliseconds kLastRetry{200};

enum class Outcome {
  kServing,   // here
  kAnswered,  // by another process
  kElsewhere  // the address is none of this host's
};

class TcpStoreHost final : public StoreHost {
 public:
  TcpStoreHost(const StoreUrl& url, std::shared_ptr<const TlsCredentials> tls)
      : url_(url), tls_(std::move(tls)) {}

  ~TcpStoreHost() override {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    thread_.Join();
  }

  Status ServeNow(Deadline deadline) {
    for (Backoff backoff(kFirstRetry, kLastRetry);;) {
      auto outcome = TryOnce({}, deadline);
      if (outcome.ok()) return Ok();
      if (IsInvalidArgument(outcome.status()))
        return InUse("can't serve the store at {}: the port is taken; {}", url_.ToString(),
                     outcome.status().message());
      if (!IsDisconnected(outcome.status())) return outcome.status();
      if (steady_clock::now() >= deadline)
        return InUse("can't serve the store at {}: the port is taken; {}", url_.ToString(),
                     outcome.status().message());
      RETURN_IF_ERROR(
          PauseUntil(std::min<TimePoint>(deadline, steady_clock::now() + backoff.Next())));
    }
  }

  bool serving() const override {
    MutexLock lock(mutex_);
    return server_ != nullptr;
  }

  Status OnStoreLost() override {
    MutexLock lock(mutex_);
    if (server_ != nullptr || stopping_) return Ok();
    lost_ = true;
    if (running_) return Ok();  // it looks again before it ends
    ASSIGN_OR_RETURN(thread_, Thread::Start("mf-store-host", [this] { TakeOverWhileLost(); }));
    running_ = true;
    return Ok();
  }

 private:
  // Binds the port, or finds out who has it. Disconnected: someone who doesn't answer (now);
  // InvalidArgument: no store.
  Result<Outcome> TryOnce(std::vector<EmbeddedServer::Seed> seeds, Deadline deadline) {
    EmbeddedServer::Options options;
    options.listen = url_.endpoints[0];
    options.seeds = std::move(seeds);
    options.tls = tls_;
    auto server = EmbeddedServer::Start(options);
    if (server.ok()) {
      MutexLock lock(mutex_);
      server_ = std::move(*server);
      return Outcome::kServing;
    }
    if (IsNotFound(server.status())) return Outcome::kElsewhere;
    if (!IsInUse(server.status())) return server.status();
    auto client = Client::Connect(
        url_, {.tls = tls_}, std::min<TimePoint>(deadline, steady_clock::now() + kAnswerTimeout));
    if (client.ok()) return Outcome::kAnswered;
    if (IsDeadlineExceeded(client.status())) return Disconnected("{}", client.status().message());
    return client.status();
  }

  void TakeOverWhileLost() {
    MutexLock lock(mutex_);
    while (!stopping_ && std::exchange(lost_, false)) {
      for (Backoff backoff(kFirstRetry, kLastRetry);;) {
        lock.Unlock();
        auto outcome = TryOnce({RecoveringSeed()}, TimePoint::max());
        lock.Lock();
        if (outcome.ok()) {
          if (*outcome == Outcome::kServing)
            LOG(kInfo, "store {}: taken over by this process", url_.ToString());
          break;
        }
        if (!IsDisconnected(outcome.status())) {
          LOG(kWarn, "store {}: can't be taken over: {}", url_.ToString(),
              outcome.status().message());
          break;
        }
        for (const auto until = steady_clock::now() + backoff.Next();
             !stopping_ && steady_clock::now() < until;)
          changed_.WaitUntil(mutex_, until);
        if (stopping_) break;
      }
    }
    running_ = false;  // the last that it does with this object, but for the lock
  }

  static EmbeddedServer::Seed RecoveringSeed() {
    return {.key = Keys("").Recovering(),
            .value = fmt::format("taken over by pid {} on host {}", getpid(), HostName()),
            .time_to_live = kSessionTimeToLive};
  }

  const StoreUrl url_;
  const std::shared_ptr<const TlsCredentials> tls_;  // shared with the job's client
  mutable Mutex mutex_;
  CondVar changed_;
  std::unique_ptr<EmbeddedServer> server_ GUARDED_BY(mutex_);
  bool lost_ GUARDED_BY(mutex_) = false;
  bool running_ GUARDED_BY(mutex_) = false;  // the thread
  bool stopping_ GUARDED_BY(mutex_) = false;
  Thread thread_;  // started with the mutex held
};

}  // namespace

Result<std::unique_ptr<StoreHost>> StoreHost::Start(const StoreUrl& url, Serve serve,
                                                    std::shared_ptr<const TlsCredentials> tls,
                                                    Deadline deadline) {
  if (url.scheme != StoreUrl::Scheme::kTcp)
    return InvalidArgument("store {}: an etcd cluster is served by its own servers",
                           url.ToString());
  auto host = std::make_unique<TcpStoreHost>(url, std::move(tls));
  if (serve == Serve::kNow) RETURN_IF_ERROR(host->ServeNow(deadline));
  return std::unique_ptr<StoreHost>(std::move(host));
}

}  // namespace memfabric::store
