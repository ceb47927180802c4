#include "store/embedded/server.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>

#include <chrono>
#include <initializer_list>
#include <memory>
#include <random>
#include <utility>

#include "store/embedded/core.h"
#include "store/embedded/kv.h"
#include "store/embedded/listen_address.h"
#include "store/embedded/services.h"
#include "store/embedded/tls_listener.h"
#include "store/proto/grpc_log.h"

namespace memfabric::store {
namespace {

constexpr int kDeadPeerProbeMs = 60'000;  // an idle connection is asked whether its other end is still there

std::uint64_t RandomIdentity() {
  std::random_device random;
  std::uint64_t identity = 0;
  while (identity == 0) identity = (std::uint64_t{random()} << 32) | random();
  return identity;
}

class GrpcServer final : public EmbeddedServer {
 public:
  explicit GrpcServer(Clock& clock) : core_(RandomIdentity(), clock) {}

  ~GrpcServer() override {
    tls_.reset();  // nobody comes in any more
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());  // cancels what is open, without waiting for it to end by itself
    server_->Wait();
  }

  Status Serve(const Options& options) {
    if (options.tls != nullptr) RETURN_IF_ERROR(options.tls->Check());
    RETURN_IF_ERROR(Plant(options.seeds));
    ASSIGN_OR_RETURN(const auto addresses, FindListenAddresses(options.listen));
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(Kv::kMostMessageBytes);
    builder.SetMaxSendMessageSize(-1);
    // Clients may probe as often as they like, with or without calls open.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kDeadPeerProbeMs);
    std::vector<int> ports(addresses.size());
    for (std::size_t i = 0; options.tls == nullptr && i < addresses.size(); ++i)
      builder.AddListeningPort(addresses[i].ToString(), grpc::InsecureServerCredentials(), &ports[i]);
    for (grpc::Service* service : std::initializer_list<grpc::Service*>{&kv_, &watch_, &lease_, &cluster_, &maintenance_})
      builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    if (server_ != nullptr && options.tls != nullptr) {
      ASSIGN_OR_RETURN(tls_, TlsListener::Start(addresses, options.tls, [this](UniqueFd inside) {
                         grpc::AddInsecureChannelFromFd(server_.get(), inside.Release());
                       }));
      ports[0] = tls_->port();
    }
    if (server_ == nullptr || ports[0] == 0) return InUse("cannot listen on {}", options.listen.ToString());
    address_ = {options.listen.host, static_cast<std::uint16_t>(ports[0])};
    Core::Tell(core_.Run([&](State& state, TimePoint) {
      state.SetClientUrl((tls_ == nullptr ? "http://" : "https://") + address_.ToString());
    }));
    return Ok();
  }

  HostPort address() const override { return address_; }

 private:
  Status Plant(const std::vector<Seed>& seeds) {
    Refusal refusal = nullptr;
    Core::Tell(core_.Run([&](State& state, TimePoint now) {
      for (const Seed& seed : seeds) {
        etcdserverpb::LeaseGrantRequest grant;
        etcdserverpb::LeaseGrantResponse granted;
        grant.set_ttl(seed.time_to_live.count());
        if ((refusal = state.LeaseGrant(grant, now, &granted)) != nullptr) return;
        etcdserverpb::PutRequest put;
        etcdserverpb::PutResponse done;
        put.set_key(seed.key);
        put.set_value(seed.value);
        put.set_lease(granted.id());
        if ((refusal = state.Put(put, &done)) != nullptr) return;
      }
    }));
    if (refusal != nullptr) return InvalidArgument("a key that the store shall begin with: {}", refusal->message);
    return Ok();
  }

  Core core_;
  KvService kv_{core_};
  WatchService watch_{core_};
  LeaseService lease_{core_};
  ClusterService cluster_{core_};
  MaintenanceService maintenance_{core_};
  HostPort address_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<TlsListener> tls_;  // null without TLS
};

}  // namespace

Result<std::unique_ptr<EmbeddedServer>> EmbeddedServer::Start(const Options& options) {
  RouteGrpcLog();
  auto server = std::make_unique<GrpcServer>(*options.clock);
  RETURN_IF_ERROR(server->Serve(options));
  return std::unique_ptr<EmbeddedServer>(std::move(server));
}

}  // namespace memfabric::store
