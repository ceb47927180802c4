// What Connect says about everything that isn't a store, and how it finds the one that is.

#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>

#include "base/fd.h"
#include "base/retry.h"
#include "store/client/proxy.h"
#include "store/client/test_store.h"
#include "store/proto/rpc.grpc.pb.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;

// A TCP server that sends one text to whoever has sent something, and closes; without a text it
// stays silent.
class TextServer {
 public:
  explicit TextServer(std::string text) : text_(std::move(text)) {
    listener_ = ListenOnLoopback(&address_);
    if (!text_.empty()) thread_ = std::thread([this] { Run(); });
  }
  ~TextServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }
  const HostPort& address() const { return address_; }

 private:
  void Run() {
    for (;;) {
      UniqueFd client(
          RetryOnSignal([&] { return accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC); }));
      if (!client) return;
      char buffer[1024];
      if (RetryOnSignal([&] { return recv(client.get(), buffer, sizeof buffer, 0); }) <= 0)
        continue;
      RetryOnSignal([&] { return send(client.get(), text_.data(), text_.size(), MSG_NOSIGNAL); });
    }
  }
  const std::string text_;
  HostPort address_;
  UniqueFd listener_;
  std::thread thread_;
};

Status ConnectStatus(const StoreUrl& url, Deadline deadline) {
  return Client::Connect(url, {}, deadline).status();
}

TEST(ConnectTest, ToNobodyEndsAtTheDeadlineAndSaysSo) {
  auto began = std::chrono::steady_clock::now();
  Status status = ConnectStatus(UrlOf({.host = "127.0.0.1", .port = 1}), In(milliseconds(700)));
  auto took = std::chrono::steady_clock::now() - began;
  EXPECT_THAT(status, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("tcp://127.0.0.1:1"),
                                      HasSubstr("connection refused"), HasSubstr("tried for")));
  EXPECT_GE(took, milliseconds(700));
  EXPECT_LT(took, seconds(5));
}

TEST(ConnectTest, ToAnHttpServerSaysWhatItAnswers) {
  TextServer server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  Status status = ConnectStatus(UrlOf(server.address()), Soon());
  EXPECT_THAT(status, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("isn't a store"), HasSubstr("HTTP/1.1 400 Bad Request")));
}

TEST(ConnectTest, ToGarbageSaysSo) {
  TextServer server(std::string("\x00\x01\x02garbage\xff\xfe", 12));
  Status status = ConnectStatus(UrlOf(server.address()), Soon());
  EXPECT_THAT(status, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(status.message(), HasSubstr("\\x00\\x01\\x02garbage"));
}

TEST(ConnectTest, ToATlsServerSaysSo) {
  TextServer server(std::string("\x15\x03\x01\x00\x02\x02\x0a", 7));
  Status status = ConnectStatus(UrlOf(server.address()), Soon());
  EXPECT_THAT(status, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(status.message(), HasSubstr("it speaks TLS"));
}

TEST(ConnectTest, ToASilentServerEndsAtTheDeadlineAndSaysThatItAcceptsConnections) {
  TextServer server("");
  Status status = ConnectStatus(UrlOf(server.address()), In(milliseconds(1500)));
  EXPECT_THAT(status, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(status.message(),
              HasSubstr("accepts connections there but does not speak etcd's gRPC"));
}

TEST(ConnectTest, ToAGrpcServerThatIsNoStoreSaysSo) {
  etcdserverpb::Lease::Service leases;  // none of the others
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&leases);
  auto server = builder.BuildAndStart();
  Status status =
      ConnectStatus(UrlOf({.host = "127.0.0.1", .port = static_cast<std::uint16_t>(port)}), Soon());
  EXPECT_THAT(status, IsKind(Kind::kInvalidArgument));
  EXPECT_THAT(status.message(), HasSubstr("isn't a store"));
}

TEST(ConnectTest, ToANameThatDoesNotResolveSaysSo) {
  Status status =
      ConnectStatus(UrlOf({.host = "no-such-host.invalid", .port = 1}), In(milliseconds(1500)));
  EXPECT_THAT(status, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(status.message(), HasSubstr("doesn't resolve"));
}

TEST(ConnectTest, ByNameFindsTheLoopback) {
  TestStore store(StoreKind::kEmbedded);
  EXPECT_OK(ConnectStatus(UrlOf({.host = "localhost", .port = store.address().port}), Soon()));
}

TEST(ConnectTest, IsInterruptedBySignals) {
  TextServer silent("");
  auto former = SetInterruptCheck([] { return 1; });
  auto began = std::chrono::steady_clock::now();
  Status status = ConnectStatus(UrlOf(silent.address()), Soon());
  SetInterruptCheck(former);
  EXPECT_THAT(status, IsKind(Kind::kInterrupted));
  EXPECT_LT(std::chrono::steady_clock::now() - began, seconds(2));
}

TEST(ConnectTest, ToAStoreThatStartsLaterSucceeds) {
  HostPort address;
  {
    TestStore store(StoreKind::kEmbedded);
    address = store.address();
  }
  Status status;
  std::thread connecting([&] { status = ConnectStatus(UrlOf(address), Soon()); });
  auto server = EmbeddedServer::Start({.listen = address, .seeds = {}});
  connecting.join();
  ASSERT_OK(server);
  EXPECT_OK(status);
}

TEST(ConnectTest, AClusterIsReachedByTheEndpointThatAnswersAndLeftWhenThatEnds) {
  TextServer foreign("SSH-2.0-OpenSSH_9.2\r\n");
  auto first = std::make_unique<TestStore>(StoreKind::kEtcd);
  TestStore second(StoreKind::kEtcd);
  StoreUrl url{.scheme = StoreUrl::Scheme::kEtcd,
               .endpoints = {{.host = "127.0.0.1", .port = 1},
                             foreign.address(),
                             first->address(),
                             second.address()},
               .prefix = ""};
  auto client = Client::Connect(url, {}, Soon());
  ASSERT_OK(client);
  EXPECT_OK((*client)->Put("a", "1", kNoLease, Soon()));
  first.reset();
  auto got = (*client)->Get("a", Soon());
  ASSERT_OK(got);
  EXPECT_FALSE(got->has_value())
      << "these two are no cluster: the second knows nothing of the first";
  EXPECT_EQ((*client)->identity().incarnation, 1U);
}

TEST(ConnectTest, WhenTheStoreIsGoneCallsEndAtTheirDeadlineAndRecommendACluster) {
  TestStore store(StoreKind::kEmbedded);
  Proxy proxy(store.address());
  auto client = Client::Connect(UrlOf(proxy.address()), {}, Soon());
  ASSERT_OK(client);
  proxy.Refuse(true);
  Status status = (*client)->Get("a", In(milliseconds(1000))).status();
  EXPECT_THAT(status, IsKind(Kind::kDisconnected));
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr(UrlOf(proxy.address()).ToString()), HasSubstr("etcd://host1")));
}

// A listener that takes nobody: its queue is full, and the kernel answers no more attempts, as if
// the host were gone.
TEST(ConnectTest, ToAHostThatIsGoneSaysThatItDoesNotAnswer) {
  HostPort address;
  UniqueFd listener = ListenOnLoopback(&address);
  ASSERT_EQ(listen(listener.get(), 0), 0);
  std::vector<UniqueFd> queued;
  for (int i = 0; i < 4; ++i) {
    queued.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in there{};
    there.sin_family = AF_INET;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    there.sin_port = htons(address.port);
    (void)RetryOnSignal([&] {
      return connect(queued.back().get(), reinterpret_cast<sockaddr*>(&there), sizeof there);
    });
  }
  Status status = ConnectStatus(UrlOf(address), In(milliseconds(1500)));
  EXPECT_THAT(status, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(status.message(), HasSubstr("no answer to the attempt to connect"));
}

TEST(ConnectTest, NamesEveryEndpointThatFailed) {
  TextServer foreign("SSH-2.0-OpenSSH_9.2\r\n");
  StoreUrl url{.scheme = StoreUrl::Scheme::kEtcd,
               .endpoints = {{.host = "127.0.0.1", .port = 1}, foreign.address()},
               .prefix = ""};
  Status status = ConnectStatus(url, In(milliseconds(1500)));
  EXPECT_THAT(status, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("127.0.0.1:1: connection refused"),
                                      HasSubstr("SSH-2.0-OpenSSH_9.2")));
}

}  // namespace
}  // namespace memfabric::store::test
