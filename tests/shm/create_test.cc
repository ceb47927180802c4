// How objects come to be: together, or not at all.

#include <signal.h>

#include <set>
#include <sstream>

#include "shm/shm_ranks.h"

namespace memfabric::cluster {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ShmCreate, SeveralObjectsInAnyOrderFromSeveralSides) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  CreateAll(ranks, 5);
  std::string second = CreateAll(ranks, 63, "0x600000");
  All(ranks, "barrier 63");
  All(ranks, "barrier 5");
  All(ranks, "destroy 5");
  EXPECT_CODE(-2007, ranks[1]->Do("destroy 5"));
  All(ranks, "barrier 63");
  EXPECT_NE(second, CreateAll(ranks, 5));  // the same id again
  // Some of the ranks, in another order.
  ranks[2]->Send(Creating(7, 2, 0));
  ranks[0]->Send(Creating(7, 2, 1));
  EXPECT_CODE(0, ranks[2]->Receive());
  EXPECT_CODE(0, ranks[0]->Receive());
  EXPECT_CODE(0, ranks[2]->Do("store 7 1 0 4096 3"));
  EXPECT_CODE(0, ranks[0]->Do("load 7 1 0 4096 3"));
}

TEST(ShmCreate, AnIdIsRefusedWhileItIsUsedAndFreeAfterwards) {
  auto ranks = StartRanks(FreeUrl(), 1, 1);
  for (int round = 0; round < 3; ++round) {
    CreateAll(ranks);
    EXPECT_CODE(-2006, ranks[0]->Do(Creating(0, 1, 0)));
    EXPECT_CODE(0, ranks[0]->Do("destroy 0"));
  }
}

TEST(ShmCreate, EveryRankHearsWhoDidNotCome) {
  std::string url = FreeUrl();
  Ranks ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>());
    ASSERT_CODE(0, ranks[rank]->Do("init " + url + " 4 " + S(rank) + " create_timeout=2"));
  }
  for (std::size_t absent : {3, 0}) {  // once with the rank that leads, once without
    for (std::size_t rank = 0; rank < 3; ++rank)
      ranks[rank]->Send(Creating(0, 4, (rank + absent + 1) % 4));
    for (auto& rank : ranks) {
      Answer answer = rank->Receive();
      EXPECT_EQ(-2004, answer.code) << answer.text;
      EXPECT_THAT(answer.text, HasSubstr("rank(s) " + S(absent)));
    }
  }
  CreateAll(ranks, 0);  // nothing was left behind
}

TEST(ShmCreate, DifferentSizesAndRankSizesAreNamedToAll) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  for (int odd : {1, 0}) {
    for (int rank = 0; rank < 3; ++rank)
      ranks[rank]->Send(Creating(0, 3, rank, rank == odd ? "0x400000" : "0x200000"));
    for (auto& rank : ranks) {
      Answer answer = rank->Receive();
      EXPECT_EQ(-2000, answer.code) << answer.text;
      EXPECT_THAT(answer.text, AllOf(HasSubstr("4 MiB"), HasSubstr("2 MiB"), HasSubstr("pid")));
    }
  }
  ranks[0]->Send(Creating(0, 2, 0));
  ranks[1]->Send(Creating(0, 3, 1));
  for (int rank : {0, 1}) {
    Answer answer = ranks[rank]->Receive();
    EXPECT_EQ(-2000, answer.code) << answer.text;
    EXPECT_THAT(answer.text, AllOf(HasSubstr("rank_size 3"), HasSubstr("has 2")));
  }
  CreateAll(ranks);
}

// Ranks 0 and 1 of three fail over unequal sizes before rank 2 comes.
class ShmCreateFailedBefore : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int rank = 0; rank < 3; ++rank) ranks_.push_back(Started(rank));
    ranks_[0]->Send(Creating(0, 3, 0, "0x400000"));
    ranks_[1]->Send(Creating(0, 3, 1));
    for (int rank : {0, 1}) EXPECT_CODE(-2000, ranks_[rank]->Receive());
  }
  std::unique_ptr<RankProcess> Started(int rank) {
    auto process = std::make_unique<RankProcess>();
    EXPECT_CODE(0, process->Do("init " + url_ + " 3 " + S(rank)));
    return process;
  }
  // Rank 2 is in create, and stays there until the others come.
  void CreateWithRank2First() {
    ranks_[2]->Send(Creating(0, 3, 2));
    for (int rank : {0, 1}) ranks_[rank]->Send(Creating(0, 3, rank));
    for (auto& rank : ranks_) EXPECT_CODE(0, rank->Receive());
  }

  const std::string url_ = FreeUrl();
  Ranks ranks_;
};

TEST_F(ShmCreateFailedBefore, ALateRankHearsWhyAndOnce) {
  Answer answer = ranks_[2]->Do(Creating(0, 3, 2));
  EXPECT_EQ(-2000, answer.code) << answer.text;
  EXPECT_THAT(answer.text, AllOf(HasSubstr("4 MiB"), HasSubstr("2 MiB"), HasSubstr("pid")));
  CreateWithRank2First();
}

TEST_F(ShmCreateFailedBefore, AProcessThatIsStartedAfterwardsHasNothingToDoWithIt) {
  ranks_[2]->Kill();
  ranks_[2] = Started(2);
  CreateWithRank2First();
}

TEST_F(ShmCreateFailedBefore, OtherProcessesMayUseTheIdInAnotherOrder) {
  const auto begin = std::chrono::steady_clock::now();
  ranks_[1]->Send(Creating(0, 2, 0));
  ranks_[2]->Send(Creating(0, 2, 1));
  for (int rank : {1, 2}) EXPECT_CODE(0, ranks_[rank]->Receive());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
}

TEST(ShmCreate, BadArgumentsAreRefusedAtOnceWithTheirLimits) {
  auto ranks = StartRanks(FreeUrl(), 1, 2);
  RankProcess& rank = *ranks[0];
  for (const auto& [command, limit] : std::vector<std::pair<std::string, std::string>>{
           {Creating(64, 1, 0), "63"},
           {Creating(0, 0, 0), "1024"},
           {Creating(0, 1025, 0), "1024"},
           {Creating(0, 3, 0), "2 ranks"},
           {Creating(0, 1, 1), "0 to 0"},
           {Creating(0, 1, 0, "0"), "2 MiB"},
           {Creating(0, 1, 0, "0x200001"), "multiple"},
           {Creating(0, 1, 0, "0x1000200000"), "64 GiB"}}) {
    Answer answer = rank.Do(command);
    EXPECT_EQ(-2000, answer.code) << command;
    EXPECT_THAT(answer.text, HasSubstr(limit)) << command;
  }
  for (const char* op : {"0", "1", "2", "3", "4", "8", "64"}) {
    EXPECT_CODE(0, rank.Do(Creating(0, 1, 0) + " op=" + op));
    EXPECT_CODE(0, rank.Do("destroy 0"));
  }
  RankProcess other;
  EXPECT_CODE(-2008, other.Do(Creating(0, 1, 0)));
  EXPECT_CODE(-2000, other.Do("init tcp://127.0.0.1:1 2 2"));
  EXPECT_CODE(-2000, other.Do("init tcp://127.0.0.1:1 1025 0"));
  EXPECT_CODE(-2000, other.Do("init nonsense 2 0"));
}

TEST(ShmCreate, ARankKilledBeforeAllHaveComeFailsTheOthers) {
  std::string url = FreeUrl();
  Ranks ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>());
    ASSERT_CODE(0, ranks[rank]->Do("init " + url + " 5 " + S(rank) + " create_timeout=4"));
    ranks[rank]->Send(Creating(0, 5, rank));  // the fifth never comes
  }
  {
    RankProcess victim;
    ASSERT_CODE(0, victim.Do("init " + url + " 5 3"));
    victim.Send(Creating(0, 5, 3));
    victim.Kill();
  }
  // Another process takes its rank at once, which ends the dead one's lease.
  ranks.push_back(std::make_unique<RankProcess>());
  ASSERT_CODE(0, ranks[3]->Do("init " + url + " 5 3 create_timeout=20"));
  // Seen or not before it died: then that is what ends the others' create, else the deadline.
  std::set<int> codes;
  for (int rank = 0; rank < 3; ++rank) {
    Answer answer = ranks[rank]->Receive();
    codes.insert(answer.code);
    EXPECT_THAT(answer.text, HasSubstr("3"));
  }
  EXPECT_EQ(1u, codes.size());
  EXPECT_FALSE(codes.contains(0));
  ranks.push_back(std::make_unique<RankProcess>());
  ASSERT_CODE(0, ranks[4]->Do("init " + url + " 5 4 create_timeout=20"));
  CreateAll(ranks);
}

TEST(ShmCreate, TheLeadKilledInCreateFailsTheOthers) {
  std::string url = FreeUrl();
  RankProcess store;
  ASSERT_CODE(0, store.Do("serve " + url));  // somebody else keeps the store
  auto lead = std::make_unique<RankProcess>();
  RankProcess follower;
  ASSERT_CODE(0, lead->Do("init " + url + " 4 0 start_store=0"));
  ASSERT_CODE(0, follower.Do("init " + url + " 4 1 create_timeout=20"));
  lead->Send(Creating(0, 3, 0));
  follower.Send(Creating(0, 3, 1));
  EXPECT_CODE(0, store.Do("support"));
  lead->Kill();
  Answer answer = follower.Receive();
  EXPECT_NE(0, answer.code);
  EXPECT_THAT(answer.text, HasSubstr("0"));
}

TEST(ShmCreate, CyclesLeaveNothingBehind) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  std::size_t fds = 0, mappings = 0;
  for (int round = 0; round < 30; ++round) {
    CreateAll(ranks);
    All(ranks, "barrier 0");
    All(ranks, "destroy 0");
    std::istringstream usage(ranks[1]->Do("usage").text);
    std::size_t now_fds = 0, now_mappings = 0;
    usage >> now_fds >> now_mappings;
    if (round == 9) fds = now_fds, mappings = now_mappings;
    if (round < 29) continue;
    EXPECT_LE(now_fds, fds + 2);
    EXPECT_LE(now_mappings, mappings + 10);
  }
}

TEST(ShmCreate, BigMemoryInTheSameProcessesWithOtherRanks) {
  std::string url = FreeUrl();
  auto ranks = StartRanks(url, 2, 2);
  EXPECT_CODE(0, ranks[0]->Do("pool_too " + url + " 3 2"));
  EXPECT_CODE(0, ranks[1]->Do("pool_too " + url + " 3 0"));
  CreateAll(ranks);
  All(ranks, "barrier 0 100");
}

TEST(ShmCreate, SixtyFourRanks) {
  auto ranks = StartRanks(FreeUrl(), 64, 64);
  CreateAll(ranks);
  All(ranks, "barrier 0 3");
  All(ranks, "gather 0 4096 7");
  for (int rank = 0; rank < 64; ++rank)
    ranks[rank]->Send("put 0 " + S((rank + 1) % 64) + " 0 65536 " + S(rank));
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  for (int rank = 0; rank < 64; ++rank)
    ranks[rank]->Send("load 0 " + S(rank) + " 0 65536 " + S((rank + 63) % 64));
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
}

}  // namespace
}  // namespace memfabric::cluster
