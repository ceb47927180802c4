// A cluster of three real etcd servers that loses members: sessions stay, watches resume exactly,
// ranks are claimed again.

#include <signal.h>

#include <algorithm>
#include <thread>

#include "store/client/test_store.h"
#include "store/recipes/keys.h"
#include "store/recipes/rank_claim.h"
#include "store/recipes/session.h"
#include "support/shell.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr std::string_view kPrefix = "/jobs/one";

// What a rank of a job has of its store.
struct Member final : SessionObserver {
  Member(const StoreUrl& url, Rank rank, std::uint32_t world_size) : keys(url.prefix) {
    auto connected = Client::Connect(url, {}, Soon());
    EXPECT_OK(connected);
    if (!connected.ok()) return;
    client = std::move(*connected);
    auto opened = Session::Open(*client, this, Soon());
    EXPECT_OK(opened);
    if (!opened.ok()) return;
    session = std::move(*opened);
    EXPECT_OK(Claim(rank, world_size));
    watch = client->WatchPrefix(url.prefix + "/log/", 0, TellTo(told));
    EXPECT_TRUE(told.Await([](const Told& all) { return !all.resets.empty(); }));
  }
  Result<Rank> Claim(Rank rank, std::uint32_t world_size) {
    RankRecord record;
    record.set_protocol(1);
    record.set_epoch(1);
    record.set_host("host");
    record.set_host_name("host");
    record.set_pid(1);
    record.set_world_size(world_size);
    return ClaimRank(*client, *session, keys,
                     {.rank = rank,
                      .world_size = world_size,
                      .record = record,
                      .is_alive = [](const auto&) { return true; }},
                     Soon());
  }
  // Writes an event, once or twice if the connection breaks on the way; the time it took.
  milliseconds Log(const StoreUrl& url, const std::string& name) {
    auto began = steady_clock::now();
    Status put;
    do put = client->Put(url.prefix + "/log/" + name, name, kNoLease, Soon()).status();
    while (IsDisconnected(put));
    EXPECT_OK(put);
    return std::chrono::duration_cast<milliseconds>(steady_clock::now() - began);
  }
  // Every event has come, in order; one whose put was repeated may have come once more, as late as
  // a stopped server wakes.
  void ExpectHeard(const std::vector<std::string>& names) {
    EXPECT_TRUE(told.Await([&](const Told& all) {
      return !all.events.empty() && all.events.back().entry.value == names.back();
    }));
    std::vector<std::string> heard;
    std::int64_t revision = 0;
    for (const auto& event : told.Copy().events) {
      EXPECT_GT(event.entry.mod_revision, revision) << "an event came twice, or late";
      revision = event.entry.mod_revision;
      if (std::find(heard.begin(), heard.end(), event.entry.value) == heard.end())
        heard.push_back(event.entry.value);
    }
    EXPECT_EQ(heard, names);
    EXPECT_EQ(told.Copy().resets.size(), 1U) << "the watch began anew instead of resuming";
  }
  void OnGivenUp() override {
    trouble.Change([](int& count) { ++count; });
  }
  void OnRepublished(const std::vector<std::string>&) override {
    trouble.Change([](int& count) { ++count; });
  }

  Keys keys;
  Shared<int> trouble;  // times that the session was given up or moved
  Shared<Told> told;
  std::unique_ptr<Client> client;
  std::unique_ptr<Session> session;
  std::unique_ptr<Watch> watch;
};

class ClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    auto started = EtcdProcess::StartCluster(3);
    ASSERT_OK(started);
    etcd_ = std::move(*started);
    url_ = UrlFrom(0, std::string(kPrefix));
  }
  void TearDown() override {
    for (auto& etcd : etcd_)
      if (etcd->pid() > 0) kill(etcd->pid(), SIGCONT);
  }

  // The members in another order, as a client tries them.
  StoreUrl UrlFrom(int first, std::string prefix) {
    StoreUrl url{.scheme = StoreUrl::Scheme::kEtcd, .endpoints = {}, .prefix = std::move(prefix)};
    for (int i = 0; i < 3; ++i) url.endpoints.push_back(etcd_[(first + i) % 3]->address());
    return url;
  }
  // Which of them leads.
  int Leader() {
    for (int i = 0;; i = (i + 1) % 3) {
      if (etcd_[i]->pid() < 0) continue;
      std::string endpoint = etcd_[i]->address().ToString();
      auto status = RunEtcdctl("--endpoints=" + endpoint + " endpoint status -w fields");
      auto field = [&](const std::string& name) {
        auto at = status.find("\"" + name + "\" : ");
        return at == std::string::npos
                   ? std::string()
                   : status.substr(at + name.size() + 5,
                                   status.find('\n', at) - at - name.size() - 5);
      };
      if (!field("Leader").empty() && field("Leader") == field("MemberID")) return i;
    }
  }
  static std::string RunEtcdctl(const std::string& words) {
    return RunInShell("ETCDCTL_API=3 etcdctl " + words + " 2>&1").text;
  }
  // Each key with its value and revisions, of the whole cluster.
  static std::vector<std::tuple<std::string, std::string, std::int64_t, std::int64_t>> Dump(
      Client& client) {
    std::vector<std::tuple<std::string, std::string, std::int64_t, std::int64_t>> all;
    auto snapshot = client.GetPrefix("", Soon());
    EXPECT_OK(snapshot);
    for (const auto& entry : snapshot->entries)
      all.emplace_back(entry.key, entry.value, entry.create_revision, entry.mod_revision);
    return all;
  }
  void ExpectNoTrouble(Member& member) {
    EXPECT_EQ(member.trouble.Copy(), 0)
        << "the session was given up, or its records were published again";
    auto holder = member.client->Get(member.keys.Rank(0), Soon());
    ASSERT_OK(holder);
    ASSERT_TRUE(holder->has_value());
  }

  std::vector<std::unique_ptr<EtcdProcess>> etcd_;
  StoreUrl url_;
};

TEST_F(ClusterTest, TheMemberThatAClientIsConnectedToIsKilled) {
  Member first(url_, 0, 4);
  int follower = (Leader() + 1) % 3;
  Member second(UrlFrom(follower, std::string(kPrefix)), 1, 4);
  second.Log(url_, "a");
  etcd_[follower]->Kill();
  auto took = second.Log(url_, "b");
  RecordProperty("goes_on_after_ms", std::to_string(took.count()));
  second.Log(url_, "c");
  for (Member* member : {&first, &second}) {
    member->ExpectHeard({"a", "b", "c"});
    ExpectNoTrouble(*member);
  }
  EXPECT_THAT(second.Claim(0, 4), IsKind(Kind::kAlreadyExists));
  Member third(url_, 2, 4);
  ASSERT_OK(etcd_[follower]->Restart());
  Member fourth(UrlFrom(follower, std::string(kPrefix)), 3, 4);
  fourth.Log(url_, "d");
  first.ExpectHeard({"a", "b", "c", "d"});
}

TEST_F(ClusterTest, TheLeaderIsKilled) {
  int leader = Leader();
  Member first(UrlFrom(leader, std::string(kPrefix)), 0, 4);
  Member second(UrlFrom(leader + 1, std::string(kPrefix)), 1, 4);
  first.Log(url_, "a");
  etcd_[leader]->Kill();
  auto took = first.Log(url_, "b");
  RecordProperty("goes_on_after_ms", std::to_string(took.count()));
  std::printf("after the leader's death a client goes on after %ld ms\n",
              static_cast<long>(took.count()));
  EXPECT_LT(took, seconds(25));
  second.Log(url_, "c");
  for (Member* member : {&first, &second}) {
    member->ExpectHeard({"a", "b", "c"});
    ExpectNoTrouble(*member);
  }
  Member third(url_, 2, 4);
  EXPECT_THAT(third.Claim(1, 4), IsKind(Kind::kAlreadyExists));
}

TEST_F(ClusterTest, AMemberThatIsStoppedWhileClientsUseIt) {
  int leader = Leader();
  Member first(UrlFrom(leader, std::string(kPrefix)), 0, 4);
  first.Log(url_, "a");
  ASSERT_EQ(kill(etcd_[leader]->pid(), SIGSTOP), 0);  // connections stand, nothing is said
  auto took = first.Log(url_, "b");
  std::printf("after the leader was stopped a client goes on after %ld ms\n",
              static_cast<long>(took.count()));
  // the one that is stopped comes first in its list
  Member second(UrlFrom(leader, std::string(kPrefix)), 1, 4);
  second.Log(url_, "c");
  ASSERT_EQ(kill(etcd_[leader]->pid(), SIGCONT), 0);
  second.Log(url_, "d");
  first.ExpectHeard({"a", "b", "c", "d"});
  ExpectNoTrouble(first);
}

TEST_F(ClusterTest, RestartedWithItsData) {
  Member first(url_, 0, 4);
  first.Log(url_, "a");
  auto before = first.client->identity();
  for (auto& etcd : etcd_) etcd->Kill();
  for (auto& etcd : etcd_) ASSERT_OK(etcd->Launch());
  for (auto& etcd : etcd_) ASSERT_OK(etcd->AwaitReady());
  first.Log(url_, "b");
  first.ExpectHeard({"a", "b"});
  ExpectNoTrouble(first);
  EXPECT_EQ(first.client->identity(), before);
  Member second(url_, 1, 4);
  EXPECT_THAT(second.Claim(0, 4), IsKind(Kind::kAlreadyExists));
}

TEST_F(ClusterTest, WithoutAMajorityCallsEndAtTheirDeadline) {
  Member first(url_, 0, 4);
  etcd_[1]->Kill();
  etcd_[2]->Kill();
  auto began = steady_clock::now();
  Status put = first.client->Put("k", "1", kNoLease, In(milliseconds(2000))).status();
  EXPECT_FALSE(put.ok());
  EXPECT_LT(steady_clock::now() - began, seconds(10));
  Status connected = Client::Connect(url_, {}, In(milliseconds(3000))).status();
  EXPECT_THAT(connected, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(connected.message(),
              testing::HasSubstr(url_.endpoints[1].ToString() + ": connection refused"));
  ASSERT_OK(etcd_[1]->Launch());
  ASSERT_OK(etcd_[1]->AwaitReady());
  first.Log(url_, "a");
  first.ExpectHeard({"a"});
  ExpectNoTrouble(first);
}

TEST_F(ClusterTest, JobsAndAUsersOwnKeysAreApart) {
  auto user = Client::Connect(url_, {}, Soon());
  ASSERT_OK(user);
  for (const char* key : {"/jobs/one", "/jobs/one/x", "/jobs/one/memfabric", "/memfabric",
                          "/memfabric/1", "a", "\xff", "/jobs/onex"})
    ASSERT_OK((*user)->Put(key, "the user's", kNoLease, Soon()));
  auto before = Dump(**user);
  {
    // Prefixes that begin like each other, none, and odd ones.
    std::vector<std::unique_ptr<Member>> members;
    for (std::string prefix :
         {"/jobs/one", "/jobs/on", "/jobs/one/two", "", "/jobs/\xe4\xb8\xad \"%2f\"?#:", "//x"})
      for (Rank rank : {0U, 1U})
        members.push_back(std::make_unique<Member>(UrlFrom(0, prefix), rank, 2));
    for (auto& member : members) {
      auto ranks = member->client->GetPrefix(member->keys.Ranks(), Soon());
      ASSERT_OK(ranks);
      EXPECT_EQ(ranks->entries.size(), 2U);
    }
  }
  EXPECT_EQ(Dump(**user), before);
}

}  // namespace
}  // namespace memfabric::store::test
