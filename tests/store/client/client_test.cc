// The calls of the client, against the embedded store and a real etcd.

#include <atomic>
#include <thread>

#include "store/client/proxy.h"
#include "store/client/test_store.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;

class ClientTest : public testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override {
    client_ = ConnectTo(store_.address());
    ASSERT_NE(client_, nullptr);
  }
  TestStore store_{GetParam()};
  std::unique_ptr<Client> client_;
};

TEST_P(ClientTest, GetsWhatWasPutAndDeletesIt) {
  auto none = client_->Get("a", Soon());
  ASSERT_OK(none);
  EXPECT_FALSE(none->has_value());

  auto first = client_->Put("a", "1", kNoLease, Soon());
  auto second = client_->Put("a", "2", kNoLease, Soon());
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_EQ(*second, *first + 1);
  auto got = client_->Get("a", Soon());
  ASSERT_OK(got);
  ASSERT_TRUE(got->has_value());
  EXPECT_EQ((*got)->value, "2");
  EXPECT_EQ((*got)->create_revision, *first);
  EXPECT_EQ((*got)->mod_revision, *second);
  EXPECT_EQ((*got)->version, 2);

  auto deleted = client_->Delete("a", Soon());
  ASSERT_OK(deleted);
  EXPECT_EQ(*deleted, 1);
  deleted = client_->Delete("a", Soon());
  ASSERT_OK(deleted);
  EXPECT_EQ(*deleted, 0);
}

TEST_P(ClientTest, ReadsAPrefixInOrderAndNothingBeside) {
  for (const char* key : {"p/b", "p/a", "p0", "o", "p/\xff"})
    ASSERT_OK(client_->Put(key, key, kNoLease, Soon()));
  auto snapshot = client_->GetPrefix("p/", Soon());
  ASSERT_OK(snapshot);
  EXPECT_THAT(snapshot->entries,
              ElementsAre(Field(&KeyValue::key, "p/a"), Field(&KeyValue::key, "p/b"),
                          Field(&KeyValue::key, "p/\xff")));
  EXPECT_EQ(snapshot->revision, snapshot->entries[2].mod_revision);
  auto all = client_->GetPrefix("", Soon());
  ASSERT_OK(all);
  EXPECT_EQ(all->entries.size(), 5U);
}

TEST_P(ClientTest, ReadsASnapshotThatIsLargerThanAMessageOfGrpcUsuallyIs) {
  const std::string megabyte(1 << 20, 'x');
  for (int i = 0; i < 6; ++i)
    ASSERT_OK(client_->Put(fmt::format("big/{}", i), megabyte, kNoLease, Soon()));
  auto snapshot = client_->GetPrefix("big/", Soon());
  ASSERT_OK(snapshot);
  ASSERT_EQ(snapshot->entries.size(), 6U);
  EXPECT_EQ(snapshot->entries[5].value, megabyte);
  // Above the store's limit.
  EXPECT_THAT(client_->Put("big/7", std::string(3 << 20, 'x'), kNoLease, Soon()),
              testing::AnyOf(IsKind(Kind::kInvalidArgument), IsKind(Kind::kInUse)));
}

TEST_P(ClientTest, CommitsTheBranchThatItsConditionsChoose) {
  auto put = client_->Put("k", "old", kNoLease, Soon());
  ASSERT_OK(put);
  using Target = Compare::Target;
  using Relation = Compare::Relation;
  struct Case {
    Compare condition;
    bool holds;
  };
  const Case cases[] = {
      {{.target = Target::kVersion, .relation = Relation::kEqual, .key = "k", .operand = 1}, true},
      {{.target = Target::kVersion, .relation = Relation::kGreater, .key = "k", .operand = 1},
       false},
      {{.target = Target::kCreateRevision,
        .relation = Relation::kEqual,
        .key = "none",
        .operand = 0},
       true},
      {{.target = Target::kModRevision,
        .relation = Relation::kLess,
        .key = "k",
        .operand = *put + 1},
       true},
      {{.target = Target::kModRevision,
        .relation = Relation::kNotEqual,
        .key = "k",
        .operand = *put},
       false},
      {{.target = Target::kLease, .relation = Relation::kEqual, .key = "k", .operand = 0}, true},
      {{.target = Target::kCreateRevision,
        .relation = Relation::kLess,
        .key = "k",
        .prefix = true,
        .operand = *put},
       false},
      {{.target = Target::kCreateRevision,
        .relation = Relation::kEqual,
        .key = "z/",
        .prefix = true,
        .operand = 0},
       true},
  };
  for (const auto& [condition, holds] : cases) {
    auto result = client_->Commit({.conditions = {condition},
                                   .then = {{.type = Operation::Type::kGet, .key = "k"}},
                                   .otherwise = {{.type = Operation::Type::kGet, .key = "none"}}},
                                  Soon());
    ASSERT_OK(result);
    EXPECT_EQ(result->succeeded, holds) << "case " << (&condition - &cases[0].condition);
    ASSERT_EQ(result->gets.size(), 1U);
    EXPECT_EQ(result->gets[0].entries.size(), holds ? 1U : 0U);
  }
  auto result =
      client_->Commit({.conditions = {},
                       .then = {{.type = Operation::Type::kPut, .key = "k", .value = "new"},
                                {.type = Operation::Type::kGet, .key = "k"},
                                {.type = Operation::Type::kDelete, .key = "l", .prefix = true}},
                       .otherwise = {}},
                      Soon());
  ASSERT_OK(result);
  ASSERT_EQ(result->gets.size(), 1U);
  EXPECT_EQ(result->gets[0].entries[0].value, "new");
  result = client_->Commit(
      {.conditions = {}, .then = {{.type = Operation::Type::kDelete, .key = "k"}}, .otherwise = {}},
      Soon());
  ASSERT_OK(result);
  auto gone = client_->Get("k", Soon());
  ASSERT_OK(gone);
  EXPECT_FALSE(gone->has_value());
}

TEST_P(ClientTest, HoldsAndEndsLeases) {
  auto lease = client_->GrantLease(seconds(60), Soon());
  ASSERT_OK(lease);
  ASSERT_OK(client_->Put("under", "it", *lease, Soon()));
  auto left = client_->KeepLeaseAlive(*lease, Soon());
  ASSERT_OK(left);
  EXPECT_EQ(left->count(), 60);
  left = client_->LeaseTimeToLive(*lease, Soon());
  ASSERT_OK(left);
  EXPECT_GE(left->count(), 50);

  ASSERT_OK(client_->RevokeLease(*lease, Soon()));
  auto gone = client_->Get("under", Soon());
  ASSERT_OK(gone);
  EXPECT_FALSE(gone->has_value());
  EXPECT_THAT(client_->KeepLeaseAlive(*lease, Soon()), IsKind(Kind::kNotFound));
  EXPECT_THAT(client_->LeaseTimeToLive(*lease, Soon()), IsKind(Kind::kNotFound));
  EXPECT_THAT(client_->RevokeLease(*lease, Soon()), IsKind(Kind::kNotFound));
  EXPECT_THAT(client_->Put("under", "it", *lease, Soon()), IsKind(Kind::kNotFound));
}

TEST_P(ClientTest, ServesManyThreadsOnOneConnection) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i)
        EXPECT_OK(client_->Put(fmt::format("t/{}/{}", t, i), "x", kNoLease, Soon()));
    });
  for (auto& thread : threads) thread.join();
  auto all = client_->GetPrefix("t/", Soon());
  ASSERT_OK(all);
  EXPECT_EQ(all->entries.size(), 400U);
}

TEST_P(ClientTest, ACallThatMayBeDoneTwiceOutlivesItsConnection) {
  Proxy proxy(store_.address());
  auto client = ConnectTo(proxy.address());
  ASSERT_NE(client, nullptr);
  ASSERT_OK(client->Put("a", "1", kNoLease, Soon()));
  for (int i = 0; i < 5; ++i) {
    proxy.Cut();
    auto got = client->Get("a", Soon());
    ASSERT_OK(got);
    EXPECT_EQ((*got)->value, "1");
  }
}

TEST_P(ClientTest, AWriteThatLosesItsConnectionIsNotDoneTwice) {
  Proxy proxy(store_.address());
  auto client = ConnectTo(proxy.address());
  ASSERT_NE(client, nullptr);
  proxy.Stall(true);
  Status put;
  std::thread caller([&] { put = client->Put("a", "1", kNoLease, Soon()).status(); });
  // The stalled call times out for nobody; the cut ends it.
  EXPECT_THAT(client->Get("a", In(milliseconds(100))), IsKind(Kind::kDeadlineExceeded));
  proxy.Cut();
  proxy.Stall(false);
  caller.join();
  if (!put.ok()) {  // else it was sent after the cut only
    EXPECT_THAT(put, IsKind(Kind::kDisconnected));
    EXPECT_THAT(put.message(), HasSubstr("may or may not"));
  }
  EXPECT_OK(client->Get("a", Soon()));
}

TEST_P(ClientTest, SaysWhatItTriedWhenTheStoreStaysAway) {
  Proxy proxy(store_.address());
  auto client = ConnectTo(proxy.address());
  ASSERT_NE(client, nullptr);
  Shared<std::vector<bool>> told;
  auto watch = client->WatchConnection(
      [&](bool answers) { told.Change([&](auto& all) { all.push_back(answers); }); });
  proxy.Refuse(true);
  ASSERT_TRUE(told.Await([](const auto& all) { return !all.empty(); }));
  auto got = client->Get("a", In(milliseconds(200)));
  EXPECT_THAT(got, IsKind(Kind::kDisconnected));
  EXPECT_THAT(got.status().message(), HasSubstr(UrlOf(proxy.address()).ToString()));
  EXPECT_THAT(got.status().message(), HasSubstr("tried for"));
  proxy.Refuse(false);
  ASSERT_TRUE(told.Await([](const auto& all) { return all.size() == 2; }));
  EXPECT_THAT(told.Copy(), ElementsAre(false, true));
  EXPECT_OK(client->Get("a", Soon()));
}

TEST_P(ClientTest, AStoppedStoreIsNoticedByTheCallsThatItDoesNotAnswer) {
  Proxy proxy(store_.address());
  auto client = ConnectTo(proxy.address());
  ASSERT_NE(client, nullptr);
  Shared<int> lost;
  auto watch = client->WatchConnection([&](bool answers) {
    if (!answers) lost.Change([](int& count) { ++count; });
  });
  proxy.Stall(true);
  EXPECT_THAT(client->Get("a", In(milliseconds(1200))), IsKind(Kind::kDeadlineExceeded));
  EXPECT_TRUE(lost.Await([](int count) { return count == 1; }));
  proxy.Stall(false);
  EXPECT_OK(client->Get("a", Soon()));
}

TEST_P(ClientTest, EndsItsCallsWhenItGoes) {
  Proxy proxy(store_.address());
  auto client = ConnectTo(proxy.address());
  ASSERT_NE(client, nullptr);
  proxy.Stall(true);
  Shared<bool> begun;
  Status got;
  std::thread caller([&] {
    // The check is called once the wait is under way.
    thread_local Shared<bool>* waiting = nullptr;
    waiting = &begun;
    SetInterruptCheck([] {
      waiting->Change([](bool& value) { value = true; });
      return 0;
    });
    got = client->Get("a", Soon()).status();
  });
  ASSERT_TRUE(begun.Await([](bool value) { return value; }));
  client.reset();
  caller.join();
  EXPECT_THAT(got, IsKind(Kind::kDisconnected));
}

TEST_P(ClientTest, AnInterruptEndsAWait) {
  Proxy proxy(store_.address());
  auto client = ConnectTo(proxy.address());
  ASSERT_NE(client, nullptr);
  proxy.Stall(true);
  auto former = SetInterruptCheck([] { return 1; });
  auto began = std::chrono::steady_clock::now();
  auto got = client->Get("a", Soon());
  SetInterruptCheck(former);
  EXPECT_THAT(got, IsKind(Kind::kInterrupted));
  EXPECT_LT(std::chrono::steady_clock::now() - began, seconds(2));
}

TEST_P(ClientTest, ReadsALargePrefixPageByPageAsItWasAtOneMoment) {
  constexpr int kKeys = 700;
  for (int i = 0; i < kKeys; ++i)
    ASSERT_OK(client_->Put(fmt::format("p/{:04}", i), "1", kNoLease, Soon()));
  std::atomic<bool> stop{false};
  auto writer = ConnectTo(store_.address());
  // What is read must not depend on when: it is always as many keys, as each write takes one away
  // and puts another.
  std::thread writing([&] {
    for (int i = 0; !stop; ++i)
      ASSERT_OK(writer->Commit(
          {.conditions = {},
           .then = {{.type = Operation::Type::kDelete, .key = fmt::format("p/{:04}", i)},
                    {.type = Operation::Type::kPut,
                     .key = fmt::format("p/{:04}", i + kKeys),
                     .value = "1"}},
           .otherwise = {}},
          Soon()));
  });
  for (int i = 0; i < 20; ++i) {
    auto snapshot = client_->GetPrefix("p/", Soon());
    EXPECT_OK(snapshot);
    if (!snapshot.ok()) break;
    EXPECT_EQ(snapshot->entries.size(), static_cast<std::size_t>(kKeys));
    Shared<Told> told;
    auto watch = client_->WatchPrefix("p/", 0, TellTo(told));
    EXPECT_TRUE(told.Await([](const Told& all) { return !all.resets.empty(); }));
    EXPECT_EQ(told.Copy().resets[0].entries.size(), static_cast<std::size_t>(kKeys));
  }
  stop = true;
  writing.join();
}

TEST_P(ClientTest, MovesToAnotherStore) {
  TestStore other(StoreKind::kEmbedded);
  ASSERT_OK(client_->Put("where", "here", kNoLease, Soon()));
  ASSERT_OK(ConnectTo(other.address())->Put("where", "there", kNoLease, Soon()));
  auto before = client_->identity();
  ASSERT_OK(client_->MoveTo(UrlOf(other.address()), Soon()));
  EXPECT_FALSE(client_->identity() == before);
  auto got = client_->Get("where", Soon());
  ASSERT_OK(got);
  EXPECT_EQ((*got)->value, "there");
  // Where nothing answers, it doesn't go.
  EXPECT_THAT(client_->MoveTo(UrlOf({.host = "127.0.0.1", .port = 1}), In(milliseconds(300))),
              IsKind(Kind::kDeadlineExceeded));
  EXPECT_OK(client_->Get("where", Soon()));
}

INSTANTIATE_TEST_SUITE_P(Stores, ClientTest,
                         testing::Values(StoreKind::kEmbedded, StoreKind::kEtcd), KindText);

}  // namespace
}  // namespace memfabric::store::test
