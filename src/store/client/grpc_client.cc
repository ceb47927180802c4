#include "store/client/grpc_client.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/allowed_users.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/socket_user.h"
#include "store/client/probe.h"
#include "store/proto/grpc_start.h"

namespace memfabric::store {
namespace {

namespace pb = etcdserverpb;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How long an endpoint has for its first answer. The only one gets longer: a busy machine must not
// look like a dead store.
constexpr milliseconds kFirstAnswerTimeout{2000};
constexpr milliseconds kOnlyEndpointTimeout{5000};
// A connection that ends sooner counts as a failed attempt, so that back-off applies.
constexpr milliseconds kGoodConnection{1000};
// A call that ends at its deadline with nothing heard for this long takes the connection with it.
constexpr milliseconds kSilence{1000};

// Older ones compare one key where a range of keys is meant.
constexpr std::pair kOldestVersion{3, 3};
constexpr milliseconds kVersionTimeout{2000};

constexpr milliseconds kPatienceBeforeProbing{300};
constexpr milliseconds kProbeTimeout{500};
constexpr milliseconds kProbePeriod{500};
constexpr int kConfirmations = 2;  // probes that agree before we say that something isn't a store
// Local ports come free when connections that ended are forgotten. That none does for so long is an
// error.
constexpr milliseconds kNoPortPatience{3000};

double SecondsSince(TimePoint since) {
  return std::chrono::duration<double>(steady_clock::now() - since).count();
}

}  // namespace

class GrpcClient::Caller {
 public:
  explicit Caller(GrpcClient& client) : client_(client) {
    MutexLock lock(client_.mutex_);
    ++client_.callers_;
  }
  ~Caller() {
    MutexLock lock(client_.mutex_);
    --client_.callers_;
    client_.changed_.NotifyAll();
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

 private:
  GrpcClient& client_;
};

class GrpcClient::ObserverHandle final : public Watch {
 public:
  ObserverHandle(GrpcClient& client, std::shared_ptr<Observer> observer)
      : client_(client), observer_(std::move(observer)) {}
  ~ObserverHandle() override {
    {
      MutexLock lock(client_.observers_mutex_);
      client_.observers_.remove(observer_);
    }
    RecursiveMutexLock calling(observer_->calling);
    observer_->ended = true;
  }

 private:
  GrpcClient& client_;
  const std::shared_ptr<Observer> observer_;
};

GrpcClient::GrpcClient(const StoreUrl& url, const Options& options)
    : options_(options),
      watches_([this](const auto& connection, const grpc::Status& status) {
        OnEnd(connection, connection->Explain(status).text);
      }),
      random_(std::random_device{}()) {
  MutexLock lock(mutex_);
  SetEndpoints(url);
}

GrpcClient::~GrpcClient() {
  {
    MutexLock lock(mutex_);
    closed_ = true;
    if (connecting_ != nullptr) connecting_->Cancel();
    if (link_.has_value()) link_->connection->Cancel();
    if (alarm_ != nullptr) alarm_->Cancel();
    changed_.NotifyAll();
    while (callers_ > 0) changed_.Wait(mutex_);
    connecting_.reset();
    link_.reset();
  }
  watches_.Detach();
  io_.Drain();
}

Status GrpcClient::AwaitFirstAnswer(Deadline deadline) {
  RETURN_IF_ERROR(io_.Start());
  Caller caller(*this);
  auto began = steady_clock::now();
  auto patience = kPatienceBeforeProbing;
  int confirmations = 0;
  auto had_port = began;
  MutexLock lock(mutex_);
  Attempt();
  for (;;) {
    auto failures = failures_;
    Status waited = WaitUntil(mutex_, changed_, std::min(deadline, steady_clock::now() + patience),
                              [&]() REQUIRES(mutex_) {
                                return link_.has_value() ||
                                       (confirmations == 0 && failures == 0 && failures_ > 0);
                              });
    if (link_.has_value()) {
      lock.Unlock();
      return CheckVersion(deadline);
    }
    if (IsInterrupted(waited)) return waited;
    if (steady_clock::now() >= deadline) return DeadlineExceeded("{}", FailuresText(began));

    auto endpoints = endpoints_;
    lock.Unlock();
    bool all_foreign = true;
    bool no_port = false;
    for (auto& endpoint : endpoints) {
      if (endpoint.foreign) continue;
      ASSIGN_OR_RETURN(
          auto finding,
          Probe(endpoint.address, std::min(deadline, steady_clock::now() + kProbeTimeout)));
      bool foreign =
          finding.what == Finding::What::kForeign || finding.what == Finding::What::kRefusing;
      no_port = no_port || finding.what == Finding::What::kNoPort;
      if (finding.what == (options_.tls == nullptr ? Finding::What::kHttp2 : Finding::What::kTls)) {
        finding.text.clear();  // what we speak, too: the attempts know better what is wrong there
      } else if (finding.what == Finding::What::kTls) {
        foreign = true;
      } else if (finding.what == Finding::What::kHttp2) {
        foreign = true;
        finding.text = "it speaks no TLS: turn TLS on there, or off here (set_conf_store_tls)";
      }
      endpoint.finding = finding.text;
      all_foreign = all_foreign && foreign;
    }
    lock.Lock();
    for (std::size_t i = 0; i < endpoints.size(); ++i) endpoints_[i].finding = endpoints[i].finding;
    if (!no_port) had_port = steady_clock::now();
    if (steady_clock::now() - had_port >= kNoPortPatience)
      return InUse("store {} can't be connected to: {}", url_.ToString(), ReasonsText());
    confirmations = all_foreign ? confirmations + 1 : 0;
    if (confirmations >= kConfirmations && !link_.has_value())
      return InvalidArgument("store {} can't be used: {}", url_.ToString(), ReasonsText());
    patience = all_foreign ? kPatienceBeforeProbing : kProbePeriod;
  }
}

Status GrpcClient::CheckVersion(Deadline deadline) {
  auto status =
      Call("ask for the version", &pb::Maintenance::Stub::PrepareAsyncStatus, pb::StatusRequest(),
           std::min<TimePoint>(deadline, steady_clock::now() + kVersionTimeout), Twice::kMayBeDone);
  if (IsInterrupted(status.status())) return status.status();
  if (!status.ok()) return Ok();  // it may be busy, or keep its version to itself
  int major = 0;
  int minor = 0;
  if (std::sscanf(status->version().c_str(), "%d.%d", &major, &minor) != 2) return Ok();
  if (std::pair(major, minor) >= kOldestVersion) return Ok();
  MutexLock lock(mutex_);
  return InvalidArgument("store {} can't be used: it is etcd {}; {}.{} or newer is needed",
                         url_.ToString(), status->version(), kOldestVersion.first,
                         kOldestVersion.second);
}

std::string GrpcClient::ReasonsText() const {
  std::string reasons;
  for (const auto& endpoint : endpoints_) {
    if (endpoints_.size() > 1)
      reasons += fmt::format("{}{}: ", reasons.empty() ? "" : ", ", endpoint.address.ToString());
    reasons += endpoint.finding.empty() ? endpoint.failure : endpoint.finding;
  }
  return reasons;
}

std::string GrpcClient::FailuresText(TimePoint since) const {
  auto text = fmt::format("store {} doesn't answer: {}; tried for {:.3g} s", url_.ToString(),
                          ReasonsText(), SecondsSince(since));
  if (identified_ && url_.scheme == StoreUrl::Scheme::kTcp)
    text += fmt::format(
        ". While the host that serves it, {}, is gone, nobody can join: a store at an etcd cluster "
        "(etcd://host1:port,host2:port,host3:port) survives the loss of a host",
        url_.endpoints.front().host);
  return text;
}

StoreIdentity GrpcClient::identity() const {
  MutexLock lock(mutex_);
  return identity_;
}

// --- The connection ---

void GrpcClient::SetEndpoints(const StoreUrl& url) {
  url_ = url;
  endpoints_.clear();
  for (const auto& address : url.endpoints) endpoints_.push_back({.address = address});
  next_ = 0;
  failures_ = 0;
}

void GrpcClient::Attempt() {
  if (closed_ || connecting_ != nullptr || link_.has_value()) return;
  if (Status strange = CheckServersUser(endpoints_[next_].address); !strange.ok())
    return Failed({strange.message(), true});
  auto timeout = endpoints_.size() == 1 ? kOnlyEndpointTimeout : kFirstAnswerTimeout;
  auto connection =
      std::make_shared<StoreConnection>(io_, endpoints_[next_].address, timeout, options_.tls);
  connecting_ = connection;
  // A read that asks for hardly anything, but for the agreement of the cluster's majority.
  pb::RangeRequest request;
  request.set_key(std::string(1, '\0'));
  request.set_count_only(true);
  bool started = connection->Start<pb::KV::Stub, pb::RangeRequest, pb::RangeResponse>(
      &pb::KV::Stub::PrepareAsyncRange, request, steady_clock::now() + timeout,
      [this, connection](const auto& status, const auto& response) {
        OnHello(connection, status, response);
      });
  CHECK(started);  // nobody else knows it yet
}

void GrpcClient::Failed(const StoreConnection::Failure& failure) {
  endpoints_[next_].failure = failure.text;
  endpoints_[next_].foreign = failure.refusal;
  next_ = (next_ + 1) % endpoints_.size();
  ++failures_;
  AttemptLater();
  changed_.NotifyAll();
}

// Who serves a store on this host could read and change all that we say to it. A cluster's members
// have users of their own.
Status GrpcClient::CheckServersUser(const HostPort& address) const {
  if (options_.tls != nullptr || url_.scheme != StoreUrl::Scheme::kTcp) return Ok();
  ASSIGN_OR_RETURN(const auto users, AllowedUsers::FromEnvironment());
  for (const char* host : {"127.0.0.1", "::1"}) {
    const bool is_name = address.host == "localhost";
    auto user = UserOfListener(is_name ? host : address.host, address.port);
    if (user.ok() && user->has_value() && !users.Has(**user))
      return InvalidArgument(
          "its port {} belongs to user {} of this host, and this process to user {}: a store on "
          "this host may belong to {}; "
          "list others in MEMFABRIC_ALLOW_UIDS, or use TLS",
          address.port, **user, ::geteuid(), users.ToString());
    if (!is_name) break;
  }
  return Ok();  // as well when the kernel names nobody: the port may be forwarded
}

void GrpcClient::AttemptLater() {
  auto rounds = failures_ / endpoints_.size();
  if (failures_ % endpoints_.size() != 0 || rounds == 0) return Attempt();
  milliseconds delay = options_.first_backoff;
  // so that a wait is overshot by half at most
  while (--rounds > 0 && delay < options_.last_backoff) delay += delay / 2;
  delay = std::min(delay, options_.last_backoff);
  // Spread by a quarter either way: all clients of a store lose it at the same moment.
  auto spread =
      std::uniform_int_distribution<std::int64_t>(-delay.count() / 4, delay.count() / 4)(random_);
  alarm_ = std::make_shared<grpc::Alarm>();
  alarm_->Set(io_.queue(), std::chrono::system_clock::now() + delay + milliseconds(spread),
              io_.Tag([this, alarm = alarm_](bool fired) {
                MutexLock lock(mutex_);
                if (fired) Attempt();
              }));
}

void GrpcClient::Identify(const pb::ResponseHeader& header) {
  bool replaced =
      identified_ && (header.cluster_id() != identity_.cluster_id ||
                      header.revision() < newest_revision_ || header.raft_term() < raft_term_);
  if (replaced) {
    ++identity_.incarnation;
    newest_revision_ = 0;
  }
  identified_ = true;
  identity_.cluster_id = header.cluster_id();
  newest_revision_ = std::max(newest_revision_, header.revision());
  raft_term_ = header.raft_term();
}

void GrpcClient::OnHello(const std::shared_ptr<StoreConnection>& connection,
                         const grpc::Status& status, const pb::RangeResponse& response) {
  bool again;
  {
    MutexLock lock(mutex_);
    if (closed_ || connecting_ != connection) return;
    connecting_.reset();
    auto& endpoint = endpoints_[next_];
    // Asked again: who answers may have come since.
    Status strange = status.ok() ? CheckServersUser(endpoint.address) : Ok();
    if (!status.ok() || !strange.ok()) {
      auto failure = status.ok() ? StoreConnection::Failure{strange.message(), true}
                                 : connection->Explain(status);
      connection->Cancel();
      return Failed(failure);
    }
    endpoint.failure = "it has answered before";
    endpoint.finding.clear();
    endpoint.foreign = false;
    again = identified_;
    Identify(response.header());
    link_ = Link{.connection = connection,
                 .keep_alives = std::make_shared<KeepAlives>(connection),
                 .since = steady_clock::now()};
    watches_.Attach(connection, identity_.incarnation);
    changed_.NotifyAll();
  }
  if (again) Tell(true);
}

void GrpcClient::OnEnd(const std::shared_ptr<StoreConnection>& connection, const std::string& why) {
  {
    MutexLock lock(mutex_);
    if (closed_ || !link_.has_value() || link_->connection != connection) return;
    if (steady_clock::now() - link_->since >= kGoodConnection) {
      failures_ = 0;
    } else {
      ++failures_;
    }
    link_.reset();
    watches_.Detach();
    connection->Cancel();
    endpoints_[next_].failure = why;
    next_ = (next_ + 1) % endpoints_.size();
    AttemptLater();
  }
  LOG(kDebug, "store {}: the connection ended: {}", connection->endpoint().ToString(), why);
  Tell(false);
}

void GrpcClient::Saw(const Link& link, const pb::ResponseHeader& header) {
  MutexLock lock(mutex_);
  if (link_.has_value() && link_->connection == link.connection)
    newest_revision_ = std::max(newest_revision_, header.revision());
}

void GrpcClient::RunOnIoThread(std::function<void()> work) {
  auto alarm = std::make_shared<grpc::Alarm>();
  alarm->Set(io_.queue(), std::chrono::system_clock::now(),
             io_.Tag([alarm, work = std::move(work)](bool) { work(); }));
}

void GrpcClient::Tell(bool answers) {
  std::list<std::shared_ptr<Observer>> observers;
  {
    MutexLock lock(observers_mutex_);
    observers = observers_;
  }
  for (const auto& observer : observers) {
    RecursiveMutexLock calling(observer->calling);
    if (!observer->ended) observer->handler(answers);
  }
}

std::unique_ptr<Watch> GrpcClient::WatchConnection(std::function<void(bool)> handler) {
  auto observer = std::make_shared<Observer>();
  observer->handler = std::move(handler);
  MutexLock lock(observers_mutex_);
  observers_.push_back(observer);
  return std::make_unique<ObserverHandle>(*this, observer);
}

Status GrpcClient::MoveTo(const StoreUrl& url, Deadline deadline) {
  Caller caller(*this);
  RETURN_IF_ERROR(GrpcClient(url, options_).AwaitFirstAnswer(deadline));
  std::shared_ptr<StoreConnection> former;
  {
    MutexLock lock(mutex_);
    if (link_.has_value()) former = link_->connection;
    if (connecting_ != nullptr) connecting_->Cancel();
    connecting_.reset();
    if (alarm_ != nullptr) alarm_->Cancel();
    SetEndpoints(url);
    if (former == nullptr) Attempt();
  }
  if (former != nullptr) {
    RunOnIoThread([this, former] { OnEnd(former, "the store has moved"); });
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(WaitUntil(mutex_, changed_, deadline, [&]() REQUIRES(mutex_) {
                      return closed_ || !link_.has_value() || link_->connection != former;
                    }).WithContext("leaving the former store"));
  }
  return AwaitLink(deadline).status();
}

// --- Calls ---

Result<GrpcClient::Link> GrpcClient::AwaitLink(Deadline deadline) {
  auto began = steady_clock::now();
  MutexLock lock(mutex_);
  Status waited = WaitUntil(mutex_, changed_, deadline,
                            [&]() REQUIRES(mutex_) { return link_.has_value() || closed_; });
  if (closed_) return Disconnected("the client of store {} was closed", url_.ToString());
  if (IsInterrupted(waited)) return waited;
  if (!waited.ok()) return Disconnected("{}", FailuresText(began));
  return *link_;
}

template <typename Response>
Result<Response> GrpcClient::Perform(const std::string& what, Deadline deadline, Twice twice,
                                     const Starter<Response>& start) {
  struct Answer {
    Mutex mutex;
    CondVar changed;
    bool done GUARDED_BY(mutex) = false;
    grpc::Status status GUARDED_BY(mutex);
    Response response GUARDED_BY(mutex);
  };
  Caller caller(*this);
  for (;;) {
    auto link = AwaitLink(deadline);
    if (!link.ok()) return link.status().WithContext(what);
    auto answer = std::make_shared<Answer>();
    auto began = steady_clock::now();
    bool started = start(*link, [this, answer, connection = link->connection](
                                    const auto& status, const auto& response) {
      // First of all, so that who tries again finds the connection gone.
      if (IsConnectionFailure(status)) OnEnd(connection, connection->Explain(status).text);
      MutexLock lock(answer->mutex);
      answer->status = status;
      answer->response = response;
      answer->done = true;
      answer->changed.NotifyAll();
    });
    if (!started) continue;

    MutexLock lock(answer->mutex);
    Status waited = WaitUntil(answer->mutex, answer->changed, deadline,
                              [&]() REQUIRES(answer->mutex) { return answer->done; });
    if (IsInterrupted(waited)) return waited.WithContext(what);
    if (!waited.ok() || answer->status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      auto connection = link->connection;
      if (connection->last_heard() < began && steady_clock::now() - began >= kSilence)
        RunOnIoThread(
            [this, connection] { OnEnd(connection, "it accepts connections but doesn't answer"); });
      return DeadlineExceeded("{}: store {} has not answered for {:.3g} s", what,
                              link->connection->endpoint().ToString(), SecondsSince(began));
    }
    if (answer->status.ok()) {
      Saw(*link, answer->response.header());
      return std::move(answer->response);
    }
    if (!IsConnectionFailure(answer->status)) return FromWire(answer->status).WithContext(what);
    if (twice == Twice::kMayNot)
      return Disconnected(
          "{}: the connection to store {} ended meanwhile ({}): it may or may not have been "
          "carried out",
          what, link->connection->endpoint().ToString(),
          link->connection->Explain(answer->status).text);
  }
}

template <typename Stub, typename Request, typename Response>
Result<Response> GrpcClient::Call(const std::string& what,
                                  StoreConnection::Call<Stub, Request, Response> call,
                                  const Request& request, Deadline deadline, Twice twice) {
  return Perform<Response>(what, deadline, twice,
                           [&](const Link& link, StoreConnection::Done<Response> done) {
                             return link.connection->Start<Stub, Request, Response>(
                                 call, request, deadline, std::move(done));
                           });
}

Result<std::optional<KeyValue>> GrpcClient::Get(std::string_view key, Deadline deadline) {
  pb::RangeRequest request;
  request.set_key(std::string(key));
  ASSIGN_OR_RETURN(auto response, Call(fmt::format("get {}", key), &pb::KV::Stub::PrepareAsyncRange,
                                       request, deadline, Twice::kMayBeDone));
  if (response.kvs_size() == 0) return std::optional<KeyValue>();
  return std::optional(FromWire(response.kvs(0)));
}

Result<Snapshot> GrpcClient::GetPrefix(std::string_view prefix, Deadline deadline) {
  PagedRead read(prefix);
  for (;;) {
    auto page = Call(fmt::format("get {}*", prefix), &pb::KV::Stub::PrepareAsyncRange,
                     read.request(), deadline, Twice::kMayBeDone);
    // The store has forgotten that revision meanwhile, or another store answers, which never had
    // it.
    if (!page.ok() && read.has_begun() && steady_clock::now() < deadline &&
        page.status().message().find("required revision") != std::string::npos) {
      read = PagedRead(prefix);
      continue;
    }
    if (!page.ok()) return std::move(page).status();
    if (!read.IsOfTheSameStore(*page)) {
      read = PagedRead(prefix);
      continue;
    }
    if (read.Add(*page)) return read.Take();
  }
}

Result<Snapshot> GrpcClient::GetSome(std::string_view prefix, std::string_view from,
                                     std::int64_t most, Deadline deadline) {
  pb::RangeRequest request;
  request.set_key(std::string(from));
  request.set_range_end(PrefixEnd(prefix));
  request.set_limit(most);
  ASSIGN_OR_RETURN(auto response,
                   Call(fmt::format("get {} of {}*", most, from), &pb::KV::Stub::PrepareAsyncRange,
                        request, deadline, Twice::kMayBeDone));
  return FromWire(response, response.header().revision());
}

Result<std::int64_t> GrpcClient::Put(std::string_view key, std::string_view value, LeaseId lease,
                                     Deadline deadline) {
  pb::PutRequest request;
  request.set_key(std::string(key));
  request.set_value(std::string(value));
  request.set_lease(lease);
  ASSIGN_OR_RETURN(auto response, Call(fmt::format("put {}", key), &pb::KV::Stub::PrepareAsyncPut,
                                       request, deadline, Twice::kMayNot));
  return response.header().revision();
}

Result<std::int64_t> GrpcClient::Delete(std::string_view key, Deadline deadline) {
  pb::DeleteRangeRequest request;
  request.set_key(std::string(key));
  ASSIGN_OR_RETURN(auto response,
                   Call(fmt::format("delete {}", key), &pb::KV::Stub::PrepareAsyncDeleteRange,
                        request, deadline, Twice::kMayNot));
  return response.deleted();
}

Result<TransactionResult> GrpcClient::Commit(const Transaction& transaction, Deadline deadline) {
  bool writes = false;
  std::string_view key;
  for (const auto* branch : {&transaction.otherwise, &transaction.then})
    for (const auto& operation : *branch) {
      writes = writes || operation.type != Operation::Type::kGet;
      key = operation.key;
    }
  ASSIGN_OR_RETURN(auto response, Call(fmt::format("transaction on {}", key),
                                       &pb::KV::Stub::PrepareAsyncTxn, ToWire(transaction),
                                       deadline, writes ? Twice::kMayNot : Twice::kMayBeDone));
  return FromWire(response);
}

Result<LeaseId> GrpcClient::GrantLease(std::chrono::seconds time_to_live, Deadline deadline) {
  pb::LeaseGrantRequest request;
  request.set_ttl(time_to_live.count());
  // Twice: the first one's lease ends by itself.
  ASSIGN_OR_RETURN(auto response, Call("grant a lease", &pb::Lease::Stub::PrepareAsyncLeaseGrant,
                                       request, deadline, Twice::kMayBeDone));
  return response.id();
}

Status GrpcClient::RevokeLease(LeaseId lease, Deadline deadline) {
  pb::LeaseRevokeRequest request;
  request.set_id(lease);
  return Call(fmt::format("revoke lease {:x}", lease), &pb::Lease::Stub::PrepareAsyncLeaseRevoke,
              request, deadline, Twice::kMayBeDone)
      .status();
}

Result<std::chrono::seconds> GrpcClient::KeepLeaseAlive(LeaseId lease, Deadline deadline) {
  auto what = fmt::format("keep lease {:x} alive", lease);
  ASSIGN_OR_RETURN(auto response, Perform<pb::LeaseKeepAliveResponse>(
                                      what, deadline, Twice::kMayBeDone,
                                      [&](const Link& link, KeepAlives::Done done) {
                                        return link.keep_alives->Send(lease, std::move(done));
                                      }));
  if (response.ttl() <= 0) return NotFound("{}: it has ended", what);
  return std::chrono::seconds(response.ttl());
}

Result<std::chrono::seconds> GrpcClient::LeaseTimeToLive(LeaseId lease, Deadline deadline) {
  auto what = fmt::format("time to live of lease {:x}", lease);
  pb::LeaseTimeToLiveRequest request;
  request.set_id(lease);
  ASSIGN_OR_RETURN(auto response, Call(what, &pb::Lease::Stub::PrepareAsyncLeaseTimeToLive, request,
                                       deadline, Twice::kMayBeDone));
  if (response.ttl() < 0) return NotFound("{}: it has ended", what);
  return std::chrono::seconds(response.ttl());
}

std::unique_ptr<Watch> GrpcClient::WatchPrefix(std::string_view prefix, std::int64_t start_revision,
                                               WatchHandler handler) {
  return watches_.Add(prefix, start_revision, std::move(handler));
}

Result<std::unique_ptr<Client>> Client::Connect(const StoreUrl& url, const Options& options,
                                                Deadline deadline) {
  if (options.tls != nullptr) RETURN_IF_ERROR(options.tls->Check());
  RETURN_IF_ERROR(PrepareGrpc(GrpcRole::kClient));
  SignalsBlocked blocked;  // gRPC starts its threads
  auto client = std::make_unique<GrpcClient>(url, options);
  RETURN_IF_ERROR(client->AwaitFirstAnswer(deadline));
  return std::unique_ptr<Client>(std::move(client));
}

}  // namespace memfabric::store
