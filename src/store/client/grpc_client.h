// store/client/grpc_client.h: the Client over gRPC. One connection at a time; when it ends, the
// next endpoint is tried, with back-off once all have failed.
//
// Owner: who called Client::Connect. Threads: one mutex for the state of the connection; changes of
// it are made on the IoThread (but for the first attempt, MoveTo and the end), and observers are
// told there.

#pragma once

#include <grpcpp/alarm.h>

#include <functional>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/wait.h"
#include "store/client/client.h"
#include "store/client/connection.h"
#include "store/client/keep_alives.h"
#include "store/client/watches.h"
#include "store/client/wire.h"

namespace memfabric::store {

class GrpcClient final : public Client {
 public:
  GrpcClient(const StoreUrl& url, const Options& options);
  ~GrpcClient() override;

  // Before all else: its threads. As Client::Connect says.
  Status AwaitFirstAnswer(Deadline deadline);

  StoreIdentity identity() const override;
  Result<std::optional<KeyValue>> Get(std::string_view key, Deadline deadline) override;
  Result<Snapshot> GetPrefix(std::string_view prefix, Deadline deadline) override;
  Result<Snapshot> GetSome(std::string_view prefix, std::string_view from, std::int64_t most,
                           Deadline deadline) override;
  Result<std::int64_t> Put(std::string_view key, std::string_view value, LeaseId lease,
                           Deadline deadline) override;
  Result<std::int64_t> Delete(std::string_view key, Deadline deadline) override;
  Result<TransactionResult> Commit(const Transaction& transaction, Deadline deadline) override;
  Result<LeaseId> GrantLease(std::chrono::seconds time_to_live, Deadline deadline) override;
  Status RevokeLease(LeaseId lease, Deadline deadline) override;
  Result<std::chrono::seconds> KeepLeaseAlive(LeaseId lease, Deadline deadline) override;
  Result<std::chrono::seconds> LeaseTimeToLive(LeaseId lease, Deadline deadline) override;
  std::unique_ptr<Watch> WatchPrefix(std::string_view prefix, std::int64_t start_revision,
                                     WatchHandler handler) override;
  std::unique_ptr<Watch> WatchConnection(std::function<void(bool)> handler) override;
  Status MoveTo(const StoreUrl& url, Deadline deadline) override;

 private:
  struct Endpoint {
    HostPort address;
    std::string failure = "not tried yet";  // how the last attempt ended
    std::string finding{};                  // what a probe saw there; says more than the failure
    bool foreign = false;                   // what answers there isn't a store, or refuses us
  };
  struct Link {
    std::shared_ptr<StoreConnection> connection;
    std::shared_ptr<KeepAlives> keep_alives;
    TimePoint since;
  };
  struct Observer {
    std::function<void(bool)> handler;
    // held around a call; recursive, as a handler may end its own watch
    RecursiveMutex calling;
    bool ended GUARDED_BY(calling) = false;
  };
  class ObserverHandle;
  // Counts a caller's thread in, so that the client doesn't go while one is inside.
  class Caller;

  template <typename Response>
  using Starter = std::function<bool(const Link&, StoreConnection::Done<Response>)>;
  enum class Twice { kMayBeDone, kMayNot };

  // Carries out one call, on one connection after the other when it may be done twice.
  template <typename Response>
  Result<Response> Perform(const std::string& what, Deadline deadline, Twice twice,
                           const Starter<Response>& start);
  template <typename Stub, typename Request, typename Response>
  Result<Response> Call(const std::string& what,
                        StoreConnection::Call<Stub, Request, Response> call, const Request& request,
                        Deadline deadline, Twice twice);

  Result<Link> AwaitLink(Deadline deadline);
  // InvalidArgument: an etcd that lacks what we need.
  Status CheckVersion(Deadline deadline);
  std::string ReasonsText() const REQUIRES(mutex_);
  std::string FailuresText(TimePoint since) const REQUIRES(mutex_);

  void SetEndpoints(const StoreUrl& url) REQUIRES(mutex_);
  void Attempt() REQUIRES(mutex_);
  void AttemptLater() REQUIRES(mutex_);
  void Failed(const StoreConnection::Failure& failure) REQUIRES(mutex_);
  Status CheckServersUser(const HostPort& address) const REQUIRES(mutex_);
  void Identify(const etcdserverpb::ResponseHeader& header) REQUIRES(mutex_);

  void OnHello(const std::shared_ptr<StoreConnection>& connection, const grpc::Status& status,
               const etcdserverpb::RangeResponse& response);
  void OnEnd(const std::shared_ptr<StoreConnection>& connection, const std::string& why);
  void Saw(const Link& link, const etcdserverpb::ResponseHeader& header);
  void RunOnIoThread(std::function<void()> work);
  void Tell(bool answers);

  const Options options_;
  IoThread io_;
  Watches watches_;

  mutable Mutex mutex_;
  CondVar changed_;
  StoreUrl url_ GUARDED_BY(mutex_);
  std::vector<Endpoint> endpoints_ GUARDED_BY(mutex_);
  std::size_t next_ GUARDED_BY(mutex_) = 0;      // the endpoint in use or to be tried
  std::size_t failures_ GUARDED_BY(mutex_) = 0;  // since a connection was good
  // its first answer is awaited
  std::shared_ptr<StoreConnection> connecting_ GUARDED_BY(mutex_);
  std::optional<Link> link_ GUARDED_BY(mutex_);
  std::shared_ptr<grpc::Alarm> alarm_ GUARDED_BY(mutex_);  // of the next attempt
  bool identified_ GUARDED_BY(mutex_) = false;
  StoreIdentity identity_ GUARDED_BY(mutex_);
  std::int64_t newest_revision_ GUARDED_BY(mutex_) = 0;
  std::uint64_t raft_term_ GUARDED_BY(mutex_) = 0;
  std::size_t callers_ GUARDED_BY(mutex_) = 0;
  bool closed_ GUARDED_BY(mutex_) = false;
  std::minstd_rand random_ GUARDED_BY(mutex_);

  Mutex observers_mutex_;
  std::list<std::shared_ptr<Observer>> observers_ GUARDED_BY(observers_mutex_);
};

}  // namespace memfabric::store
