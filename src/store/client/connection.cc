#include "store/client/connection.h"

#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>

#include "base/mutex.h"
#include "store/client/wire.h"

namespace memfabric::store {
namespace {

// etcd cuts clients off that ping more often than every 5 s (its --grpc-keepalive-min-time).
constexpr int kPingPeriodMs = 6000;
constexpr int kPingTimeoutMs = 2000;
constexpr int kResolveTimeoutMs = 5000;
constexpr std::chrono::hours kLongestCall{24 * 365};

// Addresses go to gRPC as such, so that only names are looked up.
std::string Target(const HostPort& endpoint) {
  in_addr v4;
  if (inet_pton(AF_INET, endpoint.host.c_str(), &v4) == 1) return "ipv4:" + endpoint.ToString();
  if (endpoint.host.find(':') == std::string::npos) return "dns:///" + endpoint.ToString();
  std::string text = endpoint.ToString();
  if (auto scope = text.find('%'); scope != std::string::npos) text.replace(scope, 1, "%25");
  return "ipv6:" + text;
}

std::shared_ptr<grpc::Channel> MakeChannel(const HostPort& endpoint,
                                           std::chrono::milliseconds connect_timeout,
                                           Tunnel* tunnel) {
  grpc::ChannelArguments arguments;
  // else clients of one process share connections, and their back-off
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // the client knows which calls may be done twice
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_DNS_ARES_QUERY_TIMEOUT_MS, kResolveTimeoutMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   static_cast<int>(connect_timeout.count()));  // is the time to connect, too
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingPeriodMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // a snapshot of 1,024 records is larger than gRPC's 4 MiB
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);  // the server's limit applies, and it says so
  if (tunnel == nullptr)
    return grpc::CreateCustomChannel(Target(endpoint), grpc::InsecureChannelCredentials(),
                                     arguments);
  int inside = tunnel->TakePlainEnd();
  // Without a socket (the tunnel says why) without credentials: every call fails.
  if (inside < 0) return grpc::CreateCustomChannel(Target(endpoint), nullptr, arguments);
  return grpc::CreateCustomInsecureChannelFromFd(endpoint.ToString(), inside, arguments);
}

auto MakeStubs(const std::shared_ptr<grpc::Channel>& channel) {
  return std::make_tuple(etcdserverpb::KV::NewStub(channel), etcdserverpb::Lease::NewStub(channel),
                         etcdserverpb::Watch::NewStub(channel),
                         etcdserverpb::Maintenance::NewStub(channel));
}

}  // namespace

StoreConnection::StoreConnection(IoThread& io, const HostPort& endpoint,
                                 std::chrono::milliseconds connect_timeout,
                                 std::shared_ptr<const TlsCredentials> tls)
    : io_(io),
      endpoint_(endpoint),
      tunnel_(tls == nullptr ? nullptr
                             : std::make_unique<Tunnel>(std::move(tls), endpoint, connect_timeout)),
      stubs_(MakeStubs(MakeChannel(endpoint, connect_timeout, tunnel_.get()))) {}

StoreConnection::~StoreConnection() = default;

StoreConnection::Failure StoreConnection::Explain(const grpc::Status& status) const {
  if (tunnel_ != nullptr)
    if (Status failure = tunnel_->failure(); !failure.ok())
      return {failure.message(), IsInvalidArgument(failure)};
  return {FailureText(status), IsRefusal(status)};
}

TimePoint StoreConnection::last_heard() const {
  MutexLock lock(mutex_);
  return last_heard_;
}

void StoreConnection::SetDeadline(Deadline deadline, grpc::ClientContext* context) {
  auto left =
      std::min<std::chrono::nanoseconds>(deadline - std::chrono::steady_clock::now(), kLongestCall);
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::system_clock::duration>(left));
}

void* StoreConnection::Register(grpc::ClientContext* context, std::function<void(bool)> done) {
  MutexLock lock(mutex_);
  if (cancelled_) return nullptr;
  in_flight_.insert(context);
  return io_.Tag(std::move(done));
}

void StoreConnection::Forget(grpc::ClientContext* context, bool heard) {
  MutexLock lock(mutex_);
  in_flight_.erase(context);
  if (heard) last_heard_ = std::chrono::steady_clock::now();
}

void StoreConnection::Heard() {
  MutexLock lock(mutex_);
  last_heard_ = std::chrono::steady_clock::now();
}

void StoreConnection::Cancel() {
  MutexLock lock(mutex_);
  cancelled_ = true;
  for (auto* context : in_flight_) context->TryCancel();
}

}  // namespace memfabric::store
