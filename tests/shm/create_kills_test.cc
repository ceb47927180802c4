// Ranks that are killed or stopped at every step of create, on one host and on several. The steps
// are what their records in the store say.

#include <signal.h>

#include <condition_variable>
#include <mutex>
#include <set>
#include <sstream>

#include "shm/shm_ranks.h"
#include "store/recipes/directory.h"
#include "store/recipes/keys.h"

namespace memfabric::cluster {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;

// What happens to the records of object 0: each is written, changed or removed.
class Steps {
 public:
  explicit Steps(const std::string& url) {
    auto client =
        store::Client::Connect(*ParseStoreUrl(url), {}, steady_clock::now() + seconds(20));
    EXPECT_TRUE(client.ok()) << client.status();
    client_ = std::move(*client);
    store::Directory::Listener listener;
    listener.on_put = [this](const store::KeyValue& entry) { Count(entry, written_); };
    listener.on_removed = [this](const store::KeyValue& entry) { Count(entry, removed_); };
    auto directory =
        store::Directory::Follow(*client_, store::Keys("", "shm").Object(0), std::move(listener),
                                 SteadyClock(), steady_clock::now() + seconds(20));
    EXPECT_TRUE(directory.ok()) << directory.status();
    directory_ = std::move(*directory);
  }
  // As many, and that of `rank`.
  void Await(int written, int removed, std::size_t rank) {
    std::unique_lock lock(mutex_);
    auto done = [&] { return written_ >= written && removed_ >= removed && came_.contains(rank); };
    EXPECT_TRUE(changed_.wait_for(lock, seconds(20), done))
        << written_ << " written, " << removed_ << " removed";
  }

 private:
  void Count(const store::KeyValue& entry, int& steps) {
    std::lock_guard lock(mutex_);
    came_.insert(store::Keys::RankOf(entry.key).value_or(0));  // the lead is rank 0's
    ++steps;
    changed_.notify_all();
  }

  std::unique_ptr<store::Client> client_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int written_ = 0, removed_ = 0;
  std::set<std::size_t> came_;
  std::unique_ptr<store::Directory> directory_;  // ends first
};

std::pair<int, int> UsageOf(RankProcess& rank) {
  std::istringstream text(rank.Do("usage").text);
  std::pair<int, int> fds_and_mappings;
  text >> fds_and_mappings.first >> fds_and_mappings.second;
  return fds_and_mappings;
}

constexpr std::size_t kRanks = 4;
// What create writes: the lead, three come, four follow, all are there. Then the records are
// removed.
constexpr int kLead = 1, kCame = 4, kFollow = 8, kComplete = 9;

enum class Place { kOneHost, kFourHosts };

struct Kill {
  Place place;
  std::size_t victim;
  int step;
};

std::string NameOf(const ::testing::TestParamInfo<Kill>& info) {
  return (info.param.place == Place::kOneHost ? "OneHost" : "FourHosts") + std::string("Rank") +
         S(info.param.victim) + "Step" + S(info.param.step);
}

class ShmCreateKills : public ::testing::TestWithParam<Kill> {
 protected:
  void SetUp() override {
    ASSERT_CODE(0, store_.Do("serve " + url_));  // no rank's death is the store's
    ranks_.resize(kRanks);
    for (std::size_t rank = 0; rank < kRanks; ++rank) Start(rank);
    CreateAll(ranks_);  // what is made once, is made
    All(ranks_, "destroy 0");
  }
  void Start(std::size_t rank) {
    std::map<std::string, std::string> environment;
    if (GetParam().place == Place::kFourHosts) environment["MEMFABRIC_HOST_ID"] = "host" + S(rank);
    ranks_[rank] = std::make_unique<RankProcess>(environment);
    ASSERT_CODE(
        0, ranks_[rank]->Do("init " + url_ + " 4 " + S(rank) + " start_store=0 create_timeout=30"));
  }
  void ExpectSurvivorsToEnd(std::size_t victim, const std::vector<std::pair<int, int>>& before) {
    auto killed = steady_clock::now();
    for (std::size_t rank = 0; rank < kRanks; ++rank) {
      if (rank == victim) continue;
      Answer answer = ranks_[rank]->Receive();
      if (answer.code == 0) {  // had all that it needed, before that one died
        EXPECT_CODE(-2014, ranks_[rank]->Do("barrier 0"));
        EXPECT_CODE(0, ranks_[rank]->Do("destroy 0"));
      } else {
        EXPECT_EQ(-2014, answer.code) << answer.text;
        EXPECT_THAT(answer.text, HasSubstr("rank " + S(victim)));
      }
    }
    EXPECT_LT(steady_clock::now() - killed, seconds(12));  // a lease, not create_timeout
    for (std::size_t rank = 0; rank < kRanks; ++rank) {
      if (rank == victim) continue;
      auto after = UsageOf(*ranks_[rank]);
      EXPECT_LE(after.first, before[rank].first + 2);
      EXPECT_LE(after.second, before[rank].second + 10);
    }
    Start(victim);
    CreateAll(ranks_);
    All(ranks_, "barrier 0 10");
  }
  std::vector<std::pair<int, int>> Usage() {
    std::vector<std::pair<int, int>> usage;
    for (auto& rank : ranks_) usage.push_back(UsageOf(*rank));
    return usage;
  }
  // The others link each other, and wait for that one.
  void StopWhileLinking(Steps& steps, std::size_t stopped) {
    std::size_t late = stopped == 3 ? 2 : 3;
    for (std::size_t rank = 0; rank < kRanks; ++rank)
      if (rank != late) ranks_[rank]->Send(Creating(0, kRanks, rank));
    steps.Await(kFollow - 2, 0, stopped);
    ranks_[stopped]->Signal(SIGSTOP);
    ranks_[late]->Send(Creating(0, kRanks, late));
    steps.Await(kComplete, 0, stopped);
  }

  const std::string url_ = FreeUrl();
  RankProcess store_;
  Ranks ranks_;
};

using ShmCreateKilledAtAStep = ShmCreateKills;

TEST_P(ShmCreateKilledAtAStep, TheOthersHearItAndCanCreateAgain) {
  auto [place, victim, step] = GetParam();
  auto before = Usage();
  {
    Steps steps(url_);
    for (std::size_t rank = 0; rank < kRanks; ++rank) ranks_[rank]->Send(Creating(0, kRanks, rank));
    steps.Await(std::min(step, kComplete), std::max(0, step - kComplete), victim);
  }
  ranks_[victim]->Kill();
  ExpectSurvivorsToEnd(victim, before);
}

INSTANTIATE_TEST_SUITE_P(All, ShmCreateKilledAtAStep, ::testing::ValuesIn([] {
                           std::vector<Kill> kills;
                           for (Place place : {Place::kOneHost, Place::kFourHosts})
                             for (std::size_t victim : {0, 1, 3})
                               for (int step : {kLead, kCame, kFollow, kComplete, kComplete + 2})
                                 kills.push_back({place, victim, step});
                           return kills;
                         }()),
                         NameOf);

using ShmCreateStoppedWhileLinking = ShmCreateKills;

TEST_P(ShmCreateStoppedWhileLinking, AndKilledTheOthersHearItAndCanCreateAgain) {
  auto [place, victim, step] = GetParam();
  auto before = Usage();
  Steps steps(url_);
  StopWhileLinking(steps, victim);
  ranks_[victim]->Kill();
  ExpectSurvivorsToEnd(victim, before);
}

TEST_P(ShmCreateStoppedWhileLinking, PastItsLeaseItIsWaitedFor) {
  auto [place, victim, step] = GetParam();
  Steps steps(url_);
  StopWhileLinking(steps, victim);
  steps.Await(kComplete, 1, victim);
  ranks_[victim]->Signal(SIGCONT);
  for (auto& rank : ranks_) ASSERT_CODE(0, rank->Receive());
  All(ranks_, "barrier 0 10");
  All(ranks_, "gather 0 4096 7");
}

INSTANTIATE_TEST_SUITE_P(All, ShmCreateStoppedWhileLinking, ::testing::ValuesIn([] {
                           std::vector<Kill> stops;
                           for (Place place : {Place::kOneHost, Place::kFourHosts})
                             for (std::size_t victim : {1, 2, 3})
                               stops.push_back({place, victim, kComplete});
                           return stops;
                         }()),
                         NameOf);

}  // namespace
}  // namespace memfabric::cluster
