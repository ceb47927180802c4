// Sessions: records stand while their process lives, move to a store that replaces another, and are
// given up.

#include "store/recipes/session.h"

#include <signal.h>

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "store/client/proxy.h"
#include "store/client/test_store.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

struct Heard {
  int given_up = 0;
  std::vector<std::vector<std::string>> republished;
};

class Ear final : public SessionObserver {
 public:
  void OnGivenUp() override {
    heard_.Change([](Heard& heard) { ++heard.given_up; });
  }
  void OnRepublished(const std::vector<std::string>& lost) override {
    heard_.Change([&](Heard& heard) { heard.republished.push_back(lost); });
  }
  Shared<Heard>& heard() { return heard_; }

 private:
  Shared<Heard> heard_;
};

std::string ValueOf(Client& client, const std::string& key) {
  auto got = client.Get(key, Soon());
  EXPECT_OK(got);
  return got.ok() && got->has_value() ? (*got)->value : "none";
}

class SessionTest : public testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override {
    direct_ = ConnectTo(store_.address());
    client_ = ConnectTo(proxy_.address());
    ASSERT_NE(direct_, nullptr);
    ASSERT_NE(client_, nullptr);
    auto session = Session::Open(*client_, &ear_, Soon());
    ASSERT_OK(session);
    session_ = std::move(*session);
  }

  TestStore store_{GetParam()};
  Proxy proxy_{store_.address()};
  std::unique_ptr<Client> direct_;
  Ear ear_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Session> session_;
};

TEST_P(SessionTest, PublishesReplacesAndWithdrawsItsRecords) {
  ASSERT_OK(session_->Publish("s/a", "1", Soon()));
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "1");
  ASSERT_OK(session_->Publish("s/a", "2", Soon()));
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "2");
  ASSERT_OK(session_->Withdraw("s/a", Soon()));
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "none");
  EXPECT_OK(session_->Withdraw("s/a", Soon()));
}

TEST_P(SessionTest, LeavesOthersRecordsAlone) {
  ASSERT_OK(direct_->Put("s/a", "theirs", kNoLease, Soon()));
  Status status = session_->Publish("s/a", "ours", Soon());
  EXPECT_THAT(status, IsKind(Kind::kAlreadyExists));
  EXPECT_THAT(status.message(), HasSubstr("s/a"));
  EXPECT_OK(session_->Withdraw("s/a", Soon()));
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "theirs");
}

TEST_P(SessionTest, ItsEndTakesItsRecordsAway) {
  ASSERT_OK(session_->Publish("s/a", "1", Soon()));
  session_.reset();
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "none");
}

TEST_P(SessionTest, OutlivesItsTimeToLiveAndLostConnections) {
  ASSERT_OK(session_->Publish("s/a", "1", Soon()));
  auto lease = session_->lease();
  proxy_.Cut();
  // Another lease that nobody renews measures the time.
  auto unrenewed = direct_->GrantLease(kSessionTimeToLive + seconds(1), Soon());
  ASSERT_OK(unrenewed);
  ASSERT_OK(direct_->Put("measure", "1", *unrenewed, Soon()));
  Shared<Told> told;
  auto watch = direct_->WatchPrefix("measure", 0, TellTo(told));
  ASSERT_TRUE(told.Await([](const Told& all) { return !all.events.empty(); }));
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "1");
  EXPECT_EQ(session_->lease(), lease);
  EXPECT_EQ(ear_.heard().Copy().given_up, 0);
}

TEST_P(SessionTest, SaysWhenItsLeaseCanNotBeRenewed) {
  Shared<std::vector<std::string>> lines;
  log::SetLevel(LogLevel::kWarn);
  log::SetSink([&](LogLevel, const std::string& line) {
    lines.Change([&](auto& all) { all.push_back(line); });
  });
  ASSERT_OK(session_->Publish("s/a", "1", Soon()));
  proxy_.Refuse(true);
  auto has = [&](const char* text) {
    return [text](const std::vector<std::string>& all) {
      return std::ranges::any_of(
          all, [&](const auto& line) { return line.find(text) != std::string::npos; });
    };
  };
  EXPECT_TRUE(lines.Await(has("has not been renewed for 3")));
  EXPECT_TRUE(has("127.0.0.1")(lines.Copy())) << "it names the store";
  Status status = session_->Publish("s/b", "1", In(milliseconds(300)));
  EXPECT_THAT(status, IsKind(Kind::kDisconnected));
  status = session_->Explain(std::move(status));
  EXPECT_THAT(status, IsKind(Kind::kReconnect));
  EXPECT_THAT(status.message(), HasSubstr("could not be renewed for"));
  EXPECT_THAT(session_->Explain(NotFound("a thing")), IsKind(Kind::kNotFound));
  proxy_.Refuse(false);
  EXPECT_TRUE(lines.Await(has("answers again")));
  EXPECT_THAT(session_->Explain(DeadlineExceeded("late")), IsKind(Kind::kDeadlineExceeded));
  do status = session_->Publish("s/b", "1", Soon());
  while (IsReconnect(status));  // the store has given it up, as it may
  EXPECT_OK(status);
  log::SetSink({});
  log::SetLevel(LogLevel::kError);
  int errors = 0;
  for (const auto& line : lines.Copy())
    errors += line.find("has not been renewed for") != std::string::npos ? 1 : 0;
  EXPECT_EQ(errors, 1);
}

TEST_P(SessionTest, PublishesAgainInAStoreThatReplacesAnother) {
  TestStore other(GetParam());
  auto other_client = ConnectTo(other.address());
  ASSERT_NE(other_client, nullptr);
  constexpr int kRecords = 150;  // more than one transaction takes
  for (int i = 0; i < kRecords; ++i)
    ASSERT_OK(session_->Publish(fmt::format("s/{:03}", i), std::to_string(i), Soon()));
  ASSERT_OK(session_->Withdraw("s/000", Soon()));
  ASSERT_OK(other_client->Put("s/007", "theirs", kNoLease, Soon()));
  auto lease = session_->lease();

  auto began = std::chrono::steady_clock::now();
  proxy_.PointTo(other.address());
  ASSERT_TRUE(ear_.heard().Await([](const Heard& heard) { return heard.republished.size() == 1; }));
  RecordProperty("republish_ms", std::to_string(std::chrono::duration_cast<milliseconds>(
                                                    std::chrono::steady_clock::now() - began)
                                                    .count()));
  EXPECT_THAT(ear_.heard().Copy().republished[0], ElementsAre("s/007"));
  EXPECT_EQ(ear_.heard().Copy().given_up, 0);
  EXPECT_NE(session_->lease(), lease);
  auto all = other_client->GetPrefix("s/", Soon());
  ASSERT_OK(all);
  EXPECT_EQ(all->entries.size(), kRecords - 1U);
  EXPECT_EQ(ValueOf(*other_client, "s/000"), "none");
  EXPECT_EQ(ValueOf(*other_client, "s/007"), "theirs");
  EXPECT_EQ(ValueOf(*other_client, "s/149"), "149");
  // And it works on there.
  EXPECT_OK(session_->Publish("s/149", "new", Soon()));
  EXPECT_OK(session_->Publish("s/new", "new", Soon()));
  EXPECT_EQ(ValueOf(*other_client, "s/149"), "new");
}

TEST_P(SessionTest, APublicationUnderWayLandsInTheStoreThatReplacesTheOther) {
  TestStore other(GetParam());
  auto other_client = ConnectTo(other.address());
  ASSERT_NE(other_client, nullptr);
  proxy_.Refuse(true);
  Status published;
  std::thread publishing([&] { published = session_->Publish("s/a", "1", Soon()); });
  proxy_.PointTo(other.address());
  proxy_.Refuse(false);
  publishing.join();
  ASSERT_OK(published);
  ASSERT_TRUE(ear_.heard().Await([](const Heard& heard) { return heard.republished.size() == 1; }));
  EXPECT_EQ(ValueOf(*other_client, "s/a"), "1");
}

TEST_P(SessionTest, IsToldThatItWasGivenUpAndHasANewLease) {
  ASSERT_OK(session_->Publish("s/a", "1", Soon()));
  auto lease = session_->lease();
  ASSERT_OK(direct_->RevokeLease(lease, Soon()));
  ASSERT_TRUE(ear_.heard().Await([](const Heard& heard) { return heard.given_up == 1; }));
  EXPECT_NE(session_->lease(), lease);
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "none")
      << "records of a life that was given up are not published again";
  EXPECT_OK(session_->Publish("s/a", "2", Soon()));
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "2");
  EXPECT_TRUE(ear_.heard().Copy().republished.empty());
}

TEST_P(SessionTest, APublicationOfALifeThatWasGivenUpFails) {
  ASSERT_OK(session_->Publish("s/a", "1", Soon()));
  ASSERT_OK(direct_->RevokeLease(session_->lease(), Soon()));
  EXPECT_THAT(session_->Publish("s/a", "2", Soon()), IsKind(Kind::kReconnect));
  EXPECT_EQ(ValueOf(*direct_, "s/a"), "none");
}

TEST_P(SessionTest, RemembersWhatItsTransactionsPut) {
  TestStore other(GetParam());
  auto other_client = ConnectTo(other.address());
  ASSERT_NE(other_client, nullptr);
  auto lease = session_->lease();
  auto result = session_->Commit(
      {.conditions = {},
       .then = {{.type = Operation::Type::kPut, .key = "s/kept", .value = "1", .lease = lease},
                {.type = Operation::Type::kPut, .key = "s/not", .value = "1"}},
       .otherwise = {}},
      Soon());
  ASSERT_OK(result);
  EXPECT_TRUE(result->succeeded);
  proxy_.PointTo(other.address());
  ASSERT_TRUE(ear_.heard().Await([](const Heard& heard) { return heard.republished.size() == 1; }));
  EXPECT_EQ(ValueOf(*other_client, "s/kept"), "1");
  EXPECT_EQ(ValueOf(*other_client, "s/not"), "none");
}

INSTANTIATE_TEST_SUITE_P(Stores, SessionTest,
                         testing::Values(StoreKind::kEmbedded, StoreKind::kEtcd), KindText);

TEST(SessionAtAStoppedStoreTest, GoesOnWhenTheStoreDoes) {
  TestStore store(StoreKind::kEtcd);
  auto client = ConnectTo(store.address());
  ASSERT_NE(client, nullptr);
  Ear ear;
  auto session = Session::Open(*client, &ear, Soon());
  ASSERT_OK(session);
  ASSERT_OK((*session)->Publish("s/a", "1", Soon()));
  Shared<bool> lost;
  auto watch = client->WatchConnection([&](bool answers) {
    if (!answers) lost.Change([](bool& value) { value = true; });
  });
  auto stopped = std::chrono::steady_clock::now();
  ASSERT_EQ(kill(store.etcd().pid(), SIGSTOP), 0);
  EXPECT_TRUE(lost.Await([](bool value) { return value; }));
  EXPECT_LT(std::chrono::steady_clock::now() - stopped, seconds(5))
      << "a stopped store is noticed by the keep-alives";
  // The time to live is etcd's, in real time: it has to pass.
  ASSERT_OK(PauseUntil(stopped + kSessionTimeToLive + milliseconds(500)));
  ASSERT_EQ(kill(store.etcd().pid(), SIGCONT), 0);
  // Whether etcd ends the lease first or hears of us first is its own business; the session lives
  // either way.
  Status published;
  do published = (*session)->Publish("s/a", "2", Soon());
  while (IsReconnect(published));
  EXPECT_OK(published);
  EXPECT_EQ(ValueOf(*client, "s/a"), "2");
}

}  // namespace
}  // namespace memfabric::store::test
