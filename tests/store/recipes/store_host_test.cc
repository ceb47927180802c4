// Who serves the store: one of those who may, and another when that one ends.

#include "store/recipes/store_host.h"

#include <sys/socket.h>

#include <thread>

#include "base/fd.h"
#include "base/retry.h"
#include "store/client/proxy.h"
#include "store/client/test_store.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// A port that is free, for a moment at least.
HostPort FreeAddress() { return TestStore(StoreKind::kEmbedded).address(); }

std::unique_ptr<StoreHost> Host(const HostPort& address, Serve serve) {
  auto host = StoreHost::Start(UrlOf(address), serve, nullptr, Soon());
  EXPECT_OK(host);
  return host.ok() ? std::move(*host) : nullptr;
}

// What a process has of the store: a client that tells its host of losses.
struct Member {
  Member(const HostPort& address, Serve serve)
      : host(Host(address, serve)), client(ConnectTo(address)) {
    watch = client->WatchConnection([this](bool answers) {
      if (!answers) {
        EXPECT_OK(host->OnStoreLost());
      }
      connection.Change([&](std::vector<bool>& all) { all.push_back(answers); });
    });
  }
  std::unique_ptr<StoreHost> host;
  std::unique_ptr<Client> client;
  Shared<std::vector<bool>> connection;
  std::unique_ptr<Watch> watch;
};

TEST(StoreHostTest, ServesWhenNobodyDoesWithoutBeingInRecovery) {
  auto address = FreeAddress();
  auto host = Host(address, Serve::kNow);
  ASSERT_NE(host, nullptr);
  EXPECT_TRUE(host->serving());
  auto client = ConnectTo(address);
  ASSERT_NE(client, nullptr);
  auto recovering = client->Get(Keys("").Recovering(), Soon());
  ASSERT_OK(recovering);
  EXPECT_FALSE(recovering->has_value());
}

TEST(StoreHostTest, UsesTheStoreThatAnswersThere) {
  TestStore store(StoreKind::kEtcd);
  auto host = Host(store.address(), Serve::kNow);
  ASSERT_NE(host, nullptr);
  EXPECT_FALSE(host->serving());
}

TEST(StoreHostTest, OfManyThatStartAtOnceOneServes) {
  auto address = FreeAddress();
  std::vector<std::unique_ptr<StoreHost>> hosts(6);
  std::vector<std::thread> threads;
  for (auto& host : hosts) threads.emplace_back([&] { host = Host(address, Serve::kNow); });
  for (auto& thread : threads) thread.join();
  int serving = 0;
  for (auto& host : hosts) {
    ASSERT_NE(host, nullptr);
    serving += host->serving() ? 1 : 0;
  }
  EXPECT_EQ(serving, 1);
}

TEST(StoreHostTest, SaysWhatHasThePort) {
  HostPort taken;
  UniqueFd listener = ListenOnLoopback(&taken);
  auto silent = StoreHost::Start(UrlOf(taken), Serve::kNow, nullptr, In(milliseconds(1500)));
  EXPECT_THAT(silent, IsKind(Kind::kInUse));
  EXPECT_THAT(silent.status().message(),
              testing::AllOf(HasSubstr(UrlOf(taken).ToString()), HasSubstr("does not speak")));

  std::thread talking([&] {
    for (;;) {
      UniqueFd client(
          RetryOnSignal([&] { return accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC); }));
      if (!client) return;
      RetryOnSignal([&] { return send(client.get(), "220 mail\r\n", 10, MSG_NOSIGNAL); });
    }
  });
  auto foreign = StoreHost::Start(UrlOf(taken), Serve::kNow, nullptr, Soon());
  shutdown(listener.get(), SHUT_RDWR);
  talking.join();
  EXPECT_THAT(foreign, IsKind(Kind::kInUse));
  EXPECT_THAT(foreign.status().message(), HasSubstr("220 mail"));
}

TEST(StoreHostTest, NeverServesAnAddressOfAnotherHost) {
  auto host = Host({.host = "192.0.2.1", .port = 4000}, Serve::kNow);  // RFC 5737: nobody's
  ASSERT_NE(host, nullptr);
  EXPECT_FALSE(host->serving());
}

TEST(StoreHostTest, RefusesEtcdClusters) {
  StoreUrl url{.scheme = StoreUrl::Scheme::kEtcd,
               .endpoints = {{.host = "127.0.0.1", .port = 2379}},
               .prefix = ""};
  EXPECT_THAT(StoreHost::Start(url, Serve::kWhenOrphaned, nullptr, Soon()),
              IsKind(Kind::kInvalidArgument));
}

TEST(StoreHostTest, OneOfTheOthersTakesOverWhenTheServerEndsAndSaysThatItRecovers) {
  auto address = FreeAddress();
  auto first = std::make_unique<Member>(address, Serve::kNow);
  Member second(address, Serve::kWhenOrphaned);
  Member third(address, Serve::kWhenOrphaned);
  ASSERT_TRUE(first->host->serving());
  ASSERT_OK(second.client->Put("a", "1", kNoLease, Soon()));
  auto before = second.client->identity();

  first->watch.reset();  // a dead process doesn't hear that it has died
  first->host.reset();
  for (Member* member : {&second, &third}) {
    ASSERT_TRUE(
        member->connection.Await([](const auto& all) { return all.size() >= 2 && all.back(); }));
    EXPECT_FALSE(member->client->identity() == before);
  }
  EXPECT_NE(second.host->serving(), third.host->serving());
  auto recovering = second.client->Get(Keys("").Recovering(), Soon());
  ASSERT_OK(recovering);
  ASSERT_TRUE(recovering->has_value());
  EXPECT_NE((*recovering)->lease, kNoLease);

  // And once more.
  Member& server = second.host->serving() ? second : third;
  Member& last = second.host->serving() ? third : second;
  auto heard = last.connection.Copy().size();
  server.watch.reset();
  server.host.reset();
  ASSERT_TRUE(last.connection.Await(
      [&](const auto& all) { return all.size() >= heard + 2 && all.back(); }));
  EXPECT_TRUE(last.host->serving());
}

TEST(StoreHostTest, AConnectionThatIsLostWhileTheStoreAnswersChangesNothing) {
  auto address = FreeAddress();
  auto first = Host(address, Serve::kNow);
  auto second = Host(address, Serve::kWhenOrphaned);
  EXPECT_OK(second->OnStoreLost());
  auto client = ConnectTo(address);
  ASSERT_NE(client, nullptr);
  ASSERT_OK(client->Put("a", "1", kNoLease, Soon()));
  second.reset();  // its thread has looked by now
  EXPECT_TRUE(first->serving());
  auto got = client->Get("a", Soon());
  ASSERT_OK(got);
  EXPECT_TRUE(got->has_value());
}

}  // namespace
}  // namespace memfabric::store::test
