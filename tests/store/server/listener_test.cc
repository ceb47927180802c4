// What keeps newcomers out of a store and what doesn't: no descriptors, strangers, a listening
// socket that is gone, and other users of the host.

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <thread>

#include "base/retry.h"
#include "base/socket_user.h"
#include "store/client/dial.h"
#include "store/client/test_store.h"
#include "store/server/store_process.h"
#include "store/tls/authority.h"
#include "store/tls/greeting.h"
#include "store/tls/settings.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;

// With and without TLS.
class ListenerTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
    if (!GetParam()) return;
    authority_ = std::make_unique<Authority>();
    auto issued = authority_->Issue({.name = "rank"});
    TlsSettings settings;
    ASSERT_OK(settings.Enable(authority_->Info(issued)));
    ASSERT_OK(settings.SetKey(issued.key, ""));
    tls_ = *settings.Credentials();
    options_.tls = {authority_->Info(issued), issued.key_file};
  }

  Result<std::unique_ptr<Client>> Connect(const HostPort& address, Deadline deadline = Soon()) {
    return Client::Connect(UrlOf(address), {.tls = tls_}, deadline);
  }

  std::unique_ptr<Authority> authority_;
  std::shared_ptr<const TlsCredentials> tls_;  // shared, as Client::Connect takes it
  StoreProcess::Options options_;
};
INSTANTIATE_TEST_SUITE_P(Kinds, ListenerTest, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "Tls" : "Plain");
});

// Connections that have said `text`, and say no more.
std::vector<UniqueFd> Strangers(const HostPort& address, int count, std::string_view text) {
  std::vector<UniqueFd> all;
  for (int i = 0; i < count; ++i) {
    auto fd = Dial(address, Soon());
    EXPECT_OK(fd);
    if (!fd.ok()) return all;
    if (!text.empty())
      RetryOnSignal([&] { return send(fd->get(), text.data(), text.size(), MSG_NOSIGNAL); });
    all.push_back(std::move(*fd));
  }
  return all;
}

// Whether the other end closes them all in time.
bool AreAllClosed(const std::vector<UniqueFd>& all, Deadline deadline) {
  for (const auto& fd : all)
    for (char bytes[4096];;) {
      auto readable = AwaitEvents(fd.get(), POLLIN, deadline);
      if (!readable.ok() || !*readable) return false;
      if (RetryOnSignal([&] { return recv(fd.get(), bytes, sizeof bytes, 0); }) <= 0) break;
    }
  return true;
}

TEST_P(ListenerTest, ComesBackAfterItHadNoDescriptorLeft) {
  options_.descriptors = 256;
  StoreProcess store(options_);
  const HostPort address = store.Serve();
  auto standing = Connect(address);
  ASSERT_OK(standing);
  ASSERT_EQ(store.Do("starve"), "ok");
  auto refused = Connect(address, In(milliseconds(1500)));
  EXPECT_THAT(refused, IsKind(Kind::kDeadlineExceeded));
  if (!GetParam()) {
    EXPECT_THAT(refused.status().message(), AllOf(HasSubstr("file descriptor"), HasSubstr("256")));
  }
  EXPECT_OK((*standing)->Put("a", "1", kNoLease, Soon()));
  ASSERT_EQ(store.Do("feed"), "ok");
  const auto began = steady_clock::now();
  EXPECT_OK(Connect(address));
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(5));
  EXPECT_OK((*standing)->Get("a", Soon()));
}

TEST_P(ListenerTest, SilentStrangersKeepNobodyOutAndGo) {
  StoreProcess store(options_);
  const HostPort address = store.Serve();
  auto standing = Connect(address);
  ASSERT_OK(standing);
  auto silent = Strangers(address, 1100, "");
  const auto began = steady_clock::now();
  EXPECT_OK(Connect(address));
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(20));
  EXPECT_OK((*standing)->Put("a", "1", kNoLease, Soon()));
  EXPECT_LT(std::atoi(store.Do("count").c_str()), 300);
  EXPECT_TRUE(AreAllClosed(silent, Soon()));
  EXPECT_LT(std::atoi(store.Do("count").c_str()), 64);
}

TEST_P(ListenerTest, StrangersThatBeginAndGoNoFurtherKeepNobodyOutAndGo) {
  StoreProcess store(options_);
  const HostPort address = store.Serve();
  const std::string text = GetParam()
                               ? TlsGreeting()
                               : std::string(kHttp2Preface) + std::string("\0\0\0\4\0\0\0\0\0", 9);
  auto strangers = Strangers(address, 400, text);
  auto half = Strangers(address, 20, std::string_view(text).substr(0, 10));
  EXPECT_OK(Connect(address));
  EXPECT_LT(std::atoi(store.Do("count").c_str()), 500);
  EXPECT_TRUE(AreAllClosed(strangers, Soon()));
  EXPECT_TRUE(AreAllClosed(half, Soon()));
}

TEST_P(ListenerTest, AListeningSocketThatIsGoneIsOpenedAgain) {
  StoreProcess store(options_);
  const HostPort address = store.Serve();
  for (const char* how : {"shut", "close"}) {
    ASSERT_EQ(store.Do(how), "1");
    EXPECT_OK(Connect(address)) << how;
  }
}

TEST(PlainListenerTest, SaysWhatItIsToWhoSpeaksSomethingElse) {
  TestStore store(StoreKind::kEmbedded);
  auto strangers = Strangers(store.address(), 1, "GET / HTTP/1.1\r\n\r\n");
  char bytes[512];
  auto readable = AwaitEvents(strangers[0].get(), POLLIN, Soon());
  ASSERT_OK(readable);
  ASSERT_TRUE(*readable);
  const ssize_t got =
      RetryOnSignal([&] { return recv(strangers[0].get(), bytes, sizeof bytes, 0); });
  ASSERT_GT(got, 0);
  auto goodbye = ReadGoodbye({bytes, static_cast<std::size_t>(got)});
  ASSERT_TRUE(goodbye.has_value());
  EXPECT_THAT(goodbye->why, AllOf(HasSubstr("GET / HTTP/1.1"), HasSubstr("a store (etcd v3)")));
}

TEST(GoodbyeTest, IsReadAsItWasWrittenAndOnlyWhole) {
  const std::string frames = GoodbyeFrames({.for_good = true, .why = "no room"});
  auto read = ReadGoodbye(frames);
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(read->for_good);
  EXPECT_EQ(read->why, "no room");
  EXPECT_FALSE(ReadGoodbye(GoodbyeFrames({.for_good = false, .why = "x"}))->for_good);
  for (std::size_t size = 0; size < frames.size(); ++size)
    EXPECT_FALSE(ReadGoodbye(std::string_view(frames).substr(0, size)).has_value()) << size;
}

// --- Users ---

class UsersTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can be other users";
  }
  static std::string UrlText(const HostPort& address) {
    return fmt::format("tcp://{}", address.ToString());
  }

  static constexpr uid_t kOne = 1000;
  static constexpr uid_t kOther = 65534;
};

TEST_F(UsersTest, AnotherUserOfTheHostIsRefusedAndToldWhy) {
  StoreProcess store({.user = kOne});
  const auto url = UrlText(store.Serve());
  // As the client doesn't mind whose the store is, it is the store that refuses.
  StoreProcess stranger({.user = kOther, .environment = {{"MEMFABRIC_ALLOW_UIDS", "1000"}}});
  EXPECT_THAT(stranger.Do("connect " + url),
              AllOf(HasSubstr("InvalidArgument"),
                    HasSubstr("belongs to user 1000 and this process to user 65534"),
                    HasSubstr("MEMFABRIC_ALLOW_UIDS")));
  EXPECT_EQ(StoreProcess({.user = kOne}).Do("connect " + url), "ok");
  EXPECT_EQ(StoreProcess({.user = 0, .environment = {{"MEMFABRIC_ALLOW_UIDS", "1000"}}})
                .Do("connect " + url),
            "ok");
}

TEST_F(UsersTest, AClientRefusesAStoreOfAnotherUserOfTheHost) {
  StoreProcess store({.user = kOther, .environment = {{"MEMFABRIC_ALLOW_UIDS", "1000"}}});
  const auto address = store.Serve();
  StoreProcess rank({.user = kOne});
  for (const auto& host : {"127.0.0.1", "localhost"})
    EXPECT_THAT(rank.Do(fmt::format("connect tcp://{}:{}", host, address.port)),
                AllOf(HasSubstr("InvalidArgument"), HasSubstr("belongs to user 65534"),
                      HasSubstr("MEMFABRIC_ALLOW_UIDS")));
}

TEST_F(UsersTest, ThoseThatAreListedAreLetIn) {
  StoreProcess store({.user = kOne, .environment = {{"MEMFABRIC_ALLOW_UIDS", "65534"}}});
  StoreProcess rank({.user = kOther, .environment = {{"MEMFABRIC_ALLOW_UIDS", "1000"}}});
  EXPECT_EQ(rank.Do("connect " + UrlText(store.Serve())), "ok");
}

TEST_F(UsersTest, RootsStoreAdmitsRootOnly) {
  StoreProcess store({.user = 0});
  StoreProcess rank({.user = kOther});
  EXPECT_THAT(rank.Do("connect " + UrlText(store.Serve())),
              HasSubstr("belongs to user 0 and this process to user 65534"));
}

// What such a client has sent is there already when its socket has lost its user.
TEST_F(UsersTest, ASocketThatWasClosedAtOnceOpensNothing) {
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in here{
      .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof here;
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&here), size), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&here), &size), 0);
  auto brief = Dial({.host = "127.0.0.1", .port = ntohs(here.sin_port)}, Soon());
  ASSERT_OK(brief);
  UniqueFd accepted(
      RetryOnSignal([&] { return accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC); }));
  EXPECT_EQ(*UserOfPeer(accepted.get()), std::optional<uid_t>(geteuid()));
  brief->Reset();
  EXPECT_THAT(UserOfPeer(accepted.get()), IsKind(Kind::kNotFound));
}

TEST_F(UsersTest, WhoListensIsKnownByAddress) {
  TestStore store(StoreKind::kEmbedded);
  auto user = UserOfListener("127.0.0.1", store.address().port);
  ASSERT_OK(user);
  EXPECT_EQ(*user, std::optional<uid_t>(geteuid()));
  EXPECT_THAT(UserOfListener("127.0.0.1", 1), IsKind(Kind::kNotFound));
  auto elsewhere = UserOfListener("192.0.2.1", 80);
  ASSERT_OK(elsewhere);
  EXPECT_EQ(*elsewhere, std::nullopt);
}

}  // namespace
}  // namespace memfabric::store::test
