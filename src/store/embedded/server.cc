#include "store/embedded/server.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <random>
#include <utility>

#include "base/allowed_users.h"
#include "base/log.h"
#include "base/units.h"
#include "store/embedded/core.h"
#include "store/embedded/kv.h"
#include "store/embedded/listen_address.h"
#include "store/embedded/listener.h"
#include "store/embedded/services.h"
#include "store/proto/grpc_start.h"

namespace memfabric::store {
namespace {

// an idle connection is asked whether its other end is still there
constexpr int kDeadPeerProbeMs = 60'000;
// A connection without a call open for so long is ended. Clients of ours always watch; others
// connect again when they ask.
constexpr int kIdleMs = 60'000;
constexpr std::uint64_t kLeastQuota = 2_MiB;  // what one request may write, and a bit
constexpr std::uint64_t kMostQuota = 1_TiB;

std::uint64_t RandomIdentity() {
  std::random_device random;
  std::uint64_t identity = 0;
  while (identity == 0) identity = (std::uint64_t{random()} << 32) | random();
  return identity;
}

// MEMFABRIC_STORE_QUOTA: bytes, or with a unit as in 256M.
Result<std::size_t> QuotaFromEnvironment() {
  const char* text = std::getenv("MEMFABRIC_STORE_QUOTA");
  if (text == nullptr || *text == '\0') return Mvcc::Limits{}.live_bytes;
  std::uint64_t quota = 0;
  const char* end = text + std::strlen(text);
  auto [unit, error] = std::from_chars(text, end, quota);
  static constexpr std::string_view kUnits = "KMGT";
  const auto power = unit == end ? std::string_view::npos : kUnits.find(*unit);
  const bool well_formed =
      error == std::errc() && (unit == end || (unit + 1 == end && power != std::string_view::npos));
  const unsigned shift = unit == end || !well_formed ? 0 : static_cast<unsigned>(10 * (power + 1));
  if (!well_formed || quota > (kMostQuota >> shift) || (quota << shift) < kLeastQuota)
    return InvalidArgument(
        "MEMFABRIC_STORE_QUOTA: \"{}\" is no size from {} to {}, in bytes or as in 256M", text,
        SizeText(kLeastQuota), SizeText(kMostQuota));
  return quota << shift;
}

class GrpcServer final : public EmbeddedServer {
 public:
  GrpcServer(Clock& clock, std::size_t quota)
      : core_(RandomIdentity(), clock, {.live_bytes = quota}) {}

  ~GrpcServer() override {
    SignalsBlocked blocked;  // gRPC may start a thread to end with
    listener_.reset();       // nobody comes in any more
    if (server_ == nullptr) return;
    // cancels what is open, without waiting for it to end by itself
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

  Status Serve(const Options& options) {
    if (options.tls != nullptr) RETURN_IF_ERROR(options.tls->Check());
    ASSIGN_OR_RETURN(const auto users, AllowedUsers::FromEnvironment());
    RETURN_IF_ERROR(core_.Start());
    SignalsBlocked blocked;  // gRPC starts its threads
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
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
    for (grpc::Service* service :
         std::initializer_list<grpc::Service*>{&kv_, &watch_, &lease_, &cluster_, &maintenance_})
      builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return IoError("gRPC starts no server");
    ASSIGN_OR_RETURN(listener_, StoreListener::Start({.addresses = addresses,
                                                      .tls = options.tls,
                                                      .users = users,
                                                      .first_requests = &core_.first_requests(),
                                                      .accepted = [this](UniqueFd connection) {
                                                        grpc::AddInsecureChannelFromFd(
                                                            server_.get(), connection.Release());
                                                      }}));
    address_ = {options.listen.host, listener_->port()};
    std::string places;
    for (const HostPort& address : addresses) places += (places.empty() ? "" : ", ") + address.host;
    LOG(kInfo, "the store of {} listens at {}, port {}{}", options.listen.host, places,
        address_.port,
        options.tls != nullptr ? ", with TLS" : ": whoever reaches that may read and change it");
    Core::Tell(core_.Run([&](State& state, TimePoint) {
      state.SetClientUrl((options.tls == nullptr ? "http://" : "https://") + address_.ToString());
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
    if (refusal != nullptr)
      return InvalidArgument("a key that the store shall begin with: {}", refusal->message);
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
  std::unique_ptr<StoreListener> listener_;
};

}  // namespace

Result<std::unique_ptr<EmbeddedServer>> EmbeddedServer::Start(const Options& options) {
  RETURN_IF_ERROR(PrepareGrpc(GrpcRole::kServer));
  ASSIGN_OR_RETURN(const std::size_t quota, QuotaFromEnvironment());
  auto server = std::make_unique<GrpcServer>(*options.clock, quota);
  RETURN_IF_ERROR(server->Serve(options));
  return std::unique_ptr<EmbeddedServer>(std::move(server));
}

}  // namespace memfabric::store
