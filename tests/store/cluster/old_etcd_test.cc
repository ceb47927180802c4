// Servers that speak etcd's API and can't be used: too old, or refusing.

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "store/client/test_store.h"
#include "store/proto/rpc.grpc.pb.h"

namespace memfabric::store::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Answers the first read, says which version it is, and keeps leases alive, each on a stream that
// it ends with the answer, in good order.
class Impostor final : public etcdserverpb::KV::Service,
                       public etcdserverpb::Maintenance::Service,
                       public etcdserverpb::Lease::Service,
                       public etcdserverpb::Watch::Service {
 public:
  Impostor(std::string version, grpc::Status reads)
      : version_(std::move(version)), reads_(std::move(reads)) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<etcdserverpb::KV::Service*>(this));
    builder.RegisterService(static_cast<etcdserverpb::Maintenance::Service*>(this));
    builder.RegisterService(static_cast<etcdserverpb::Lease::Service*>(this));
    builder.RegisterService(static_cast<etcdserverpb::Watch::Service*>(this));
    server_ = builder.BuildAndStart();
    address_ = {.host = "127.0.0.1", .port = static_cast<std::uint16_t>(port)};
  }
  ~Impostor() override { server_->Shutdown(std::chrono::system_clock::now()); }
  const HostPort& address() const { return address_; }
  int streams() const { return streams_; }

 private:
  grpc::Status LeaseKeepAlive(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<etcdserverpb::LeaseKeepAliveResponse,
                               etcdserverpb::LeaseKeepAliveRequest>* stream) override {
    ++streams_;
    etcdserverpb::LeaseKeepAliveRequest request;
    etcdserverpb::LeaseKeepAliveResponse response;
    if (!stream->Read(&request)) return grpc::Status::OK;
    response.set_id(request.id());
    response.set_ttl(3);
    stream->Write(response);
    return grpc::Status::OK;
  }
  grpc::Status Watch(grpc::ServerContext*,
                     grpc::ServerReaderWriter<etcdserverpb::WatchResponse,
                                              etcdserverpb::WatchRequest>* stream) override {
    etcdserverpb::WatchRequest request;
    while (stream->Read(&request)) continue;
    return grpc::Status::OK;
  }
  grpc::Status Range(grpc::ServerContext*, const etcdserverpb::RangeRequest*,
                     etcdserverpb::RangeResponse* response) override {
    response->mutable_header()->set_cluster_id(1);
    return reads_;
  }
  grpc::Status Status(grpc::ServerContext*, const etcdserverpb::StatusRequest*,
                      etcdserverpb::StatusResponse* response) override {
    response->set_version(version_);
    return grpc::Status::OK;
  }
  const std::string version_;
  const grpc::Status reads_;
  std::atomic<int> streams_{0};
  HostPort address_;
  std::unique_ptr<grpc::Server> server_;
};

TEST(OldEtcdTest, OneThatIsTooOldIsNamedWithItsVersion) {
  for (const char* version : {"3.2.32", "2.3.8", "3.0.0-alpha"}) {
    Impostor etcd(version, grpc::Status::OK);
    auto status = Client::Connect(UrlOf(etcd.address()), {}, Soon()).status();
    EXPECT_THAT(status, IsKind(Kind::kInvalidArgument));
    EXPECT_THAT(status.message(), AllOf(HasSubstr(version), HasSubstr("3.3 or newer"),
                                        HasSubstr(etcd.address().ToString())));
  }
  for (const char* version : {"3.3.0", "3.10.1", "4.0.0", "unknown", ""}) {
    Impostor etcd(version, grpc::Status::OK);
    EXPECT_OK(Client::Connect(UrlOf(etcd.address()), {}, Soon())) << version;
  }
}

TEST(OddEtcdTest, StreamsOfKeepAlivesThatEndAreOpenedAgain) {
  Impostor etcd("3.4.0", grpc::Status::OK);
  auto client = Client::Connect(UrlOf(etcd.address()), {}, Soon());
  ASSERT_OK(client);
  for (int i = 0; i < 8; ++i) {
    auto left = (*client)->KeepLeaseAlive(7, Soon());
    // The end of a stream may overtake the next request on it, which is done again then.
    ASSERT_OK(left);
    EXPECT_EQ(*left, std::chrono::seconds(3));
  }
  EXPECT_GE(etcd.streams(), 8);
}

TEST(OldEtcdTest, OneThatAnswersWithAnErrorIsQuoted) {
  Impostor refusing(
      "3.4.0", grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "etcdserver: user name is empty"));
  auto refused = Client::Connect(UrlOf(refusing.address()), {}, Soon()).status();
  EXPECT_THAT(refused, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(refused.message(), HasSubstr("etcdserver: user name is empty"));
  Impostor broken("3.4.0",
                  grpc::Status(grpc::StatusCode::DATA_LOSS, "etcdserver: corrupt cluster"));
  auto failed =
      Client::Connect(UrlOf(broken.address()), {}, In(std::chrono::milliseconds(1000))).status();
  EXPECT_THAT(failed, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(failed.message(), HasSubstr("etcdserver: corrupt cluster"));
}

}  // namespace
}  // namespace memfabric::store::test
