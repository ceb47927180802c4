// Ranks that die, stop, leave or never come while others wait for them.

#include <signal.h>

#include "shm/shm_ranks.h"

namespace memfabric::cluster {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ShmDeathIn : public ::testing::TestWithParam<std::pair<std::string, int>> {};

TEST_P(ShmDeathIn, TheOthersHearWhoDiedWithinTwoSeconds) {
  const auto& [command, count] = GetParam();
  auto ranks = StartRanks(FreeUrl(), count, count);
  CreateAll(ranks);
  All(ranks, "barrier 0 10");
  for (int rank = 0; rank + 1 < count; ++rank)
    ranks[rank]->Send(command + (command.starts_with("sub") ? " " + S(rank) : ""));
  auto killed = steady_clock::now();
  ranks[count - 1]->Kill();
  for (int rank = 1; rank < count; ++rank) {
    Answer answer = ranks[rank - 1]->Receive();
    EXPECT_EQ(-2014, answer.code) << answer.text;
    EXPECT_THAT(answer.text, HasSubstr("rank " + S(count - 1)));
  }
  EXPECT_LT(steady_clock::now() - killed, seconds(2));
  std::string left;
  for (int rank = 1; rank < count; ++rank) left += (left.empty() ? "" : " ") + S(rank - 1);
  EXPECT_EQ(left, ranks[0]->Do("live 0").text);
  EXPECT_CODE(-2014, ranks[0]->Do("barrier 0"));
  EXPECT_CODE(-2014, ranks[0]->Do("gather 0 8 1"));
  EXPECT_CODE(-2014, ranks[0]->Do("put 0 " + S(count - 1) + " 0 8 1"));
  EXPECT_CODE(-2014, ranks[0]->Do("atomic add 0 " + S(count - 1) + " 0 1"));
  EXPECT_CODE(0, ranks[0]->Do("put 0 0 0 8 1"));
  EXPECT_EQ("0", ranks[0]->Do("reach 0 " + S(count - 1)).text);
  ranks[0]->Do("load 0 " + S(count - 1) + " 0 8 1");  // its last bytes stay: no crash
  if (count > 2) {                                    // the others have what they have without it
    ranks[1]->Send("sub 0 rest 2 1 8 1");
    EXPECT_CODE(0, ranks[0]->Do("sub 0 rest 2 0 8 1"));
    EXPECT_CODE(0, ranks[1]->Receive());
  }
  EXPECT_CODE(0, ranks[0]->Do("destroy 0"));
}

INSTANTIATE_TEST_SUITE_P(All, ShmDeathIn,
                         ::testing::Values(std::pair{"barrier 0", 2}, std::pair{"barrier 0", 3},
                                           std::pair{"barrier 0", 8},
                                           std::pair{"gather 0 65536 1", 3},
                                           std::pair{"sub 0 k 3", 3}, std::pair{"wait 0 0 1 0", 3}),
                         [](const auto& info) { return "Case" + std::to_string(info.index); });

TEST(ShmDeath, InAStreamOfBarriersAllSurvivorsHearIt) {
  for (int count : {2, 8}) {
    auto ranks = StartRanks(FreeUrl(), count, count);
    CreateAll(ranks);
    for (auto& rank : ranks) rank->Send("barrier 0 1000000000");
    ranks.back()->Kill();
    for (int rank = 0; rank + 1 < count; ++rank)
      EXPECT_CODE(-2014, ranks[rank]->Receive(seconds(5)));
  }
}

TEST(ShmDeath, AStoppedRankIsWaitedForAndNamed) {
  std::string url = FreeUrl();
  Ranks ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>());
    ASSERT_CODE(0, ranks[rank]->Do("init " + url + " 3 " + S(rank) + " operation_timeout=1"));
  }
  CreateAll(ranks);
  ranks[1]->Signal(SIGSTOP);
  for (int rank : {0, 2}) ranks[rank]->Send("barrier 0");
  for (int rank : {0, 2}) {
    Answer answer = ranks[rank]->Receive();
    EXPECT_EQ(-2004, answer.code);
    EXPECT_THAT(answer.text, HasSubstr("rank(s) 1 have not arrived"));
  }
  EXPECT_CODE(-2000, ranks[0]->Do("gather 0 8 1"));  // the barrier has not ended
  ranks[1]->Signal(SIGCONT);
  All(ranks, "barrier 0");  // the same one goes on
  All(ranks, "gather 0 8 1");
}

TEST(ShmDeath, WhoHasEndedItsPartMayGo) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  for (int round = 0; round < 20; ++round) {
    CreateAll(ranks);
    for (auto& rank : ranks) rank->Send("gather 0 65536 1");
    for (auto& rank : ranks) rank->Send("destroy 0");
    for (int i = 0; i < 2; ++i)
      for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  }
}

TEST(ShmDeath, ARankThatLeftIsNamed) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  CreateAll(ranks);
  ranks[0]->Send("barrier 0");
  EXPECT_CODE(0, ranks[1]->Do("destroy 0"));
  Answer answer = ranks[0]->Receive();
  EXPECT_EQ(-2014, answer.code);
  EXPECT_THAT(answer.text, AllOf(HasSubstr("rank 1"), HasSubstr("left are rank(s) 0, 2")));
  // A wait for another rank goes on.
  ranks[0]->Send("wait 0 0 1 0 2");
  EXPECT_CODE(0, ranks[2]->Do("atomic add 0 0 0 1"));
  EXPECT_CODE(0, ranks[0]->Receive());
}

TEST(ShmDeath, DestroyEndsTheBarrierOfAnotherThread) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  CreateAll(ranks);
  Answer answer = ranks[0]->Do("destroy_in_barrier 0");
  EXPECT_EQ(-2007, answer.code) << answer.text;
  EXPECT_EQ("0", answer.text);
}

TEST(ShmDeath, GlobalExitReachesEverybody) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  CreateAll(ranks);
  All(ranks, "on_exit 0");
  ranks[0]->Send("barrier 0");
  EXPECT_CODE(0, ranks[1]->Do("exit 0 42"));
  Answer answer = ranks[0]->Receive();
  EXPECT_EQ(-2014, answer.code);
  EXPECT_THAT(answer.text, HasSubstr("global_exit(42)"));
  for (auto& rank : ranks) EXPECT_EQ("42", rank->Do("exits 1 10").text);
}

TEST(ShmDeath, ObjectsGoOnWithoutTheStore) {
  std::string url = FreeUrl();
  RankProcess store;
  ASSERT_CODE(0, store.Do("serve " + url));
  Ranks ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>());
    ASSERT_CODE(
        0, ranks[rank]->Do("init " + url + " 3 " + S(rank) + " start_store=0 create_timeout=2"));
  }
  CreateAll(ranks);
  store.Kill();
  All(ranks, "barrier 0 100");
  All(ranks, "gather 0 65536 1");
  All(ranks, "adds 0 0 8 100");
  EXPECT_CODE(0, ranks[0]->Do("put 0 1 4096 100000 5"));
  EXPECT_CODE(0, ranks[1]->Do("load 0 1 4096 100000 5"));
  for (int rank = 0; rank < 3; ++rank) ranks[rank]->Send(Creating(1, 3, rank));  // nowhere to meet
  for (auto& rank : ranks) EXPECT_NE(0, rank->Receive().code);
  All(ranks, "barrier 0");
  ranks[2]->Kill();
  EXPECT_CODE(-2014, ranks[0]->Do("barrier 0"));
  RankProcess next;
  ASSERT_CODE(0, next.Do("serve " + url));
  EXPECT_CODE(0, ranks[0]->Do("destroy 0"));
  EXPECT_CODE(0, ranks[1]->Do("destroy 0"));
}

TEST(ShmDeath, ALeadThatWasGivenUpRecordsItsWindowAgain) {
  std::string url = FreeUrl();
  RankProcess store;
  ASSERT_CODE(0, store.Do("serve " + url));
  Ranks ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>());
    ASSERT_CODE(
        0, ranks[rank]->Do("init " + url + " 3 " + S(rank) + " start_store=0 create_timeout=6"));
  }
  ranks[0]->Send(Creating(0, 2, 0));
  std::string gva = ranks[1]->Do(Creating(0, 2, 1)).text;
  ASSERT_CODE(0, ranks[0]->Receive());
  ranks[0]->Signal(SIGSTOP);
  EXPECT_CODE(-2004, ranks[1]->Do(Creating(9, 2, 0)));  // six seconds, two leases
  ranks[0]->Signal(SIGCONT);
  Answer back;
  auto begun = steady_clock::now();
  do {  // it learns of it, and comes back
    back = ranks[0]->Do(Creating(2, 1, 0));
  } while (back.code == -2010 && steady_clock::now() - begun < seconds(30));
  ASSERT_EQ(0, back.code) << back.text;
  EXPECT_CODE(0, ranks[0]->Do("barrier 2"));
  // A process that has no window leads: without the record it would choose the place that rank 1
  // has taken.
  ranks[2]->Send(Creating(1, 2, 0));
  Answer other = ranks[1]->Do(Creating(1, 2, 1));
  EXPECT_EQ(0, other.code) << other.text;
  EXPECT_CODE(0, ranks[2]->Receive());
  EXPECT_NE(gva, other.text);
  ranks[0]->Send("barrier 0");
  EXPECT_CODE(0, ranks[1]->Do("barrier 0"));
  EXPECT_CODE(0, ranks[0]->Receive());
}

TEST(ShmDeath, RubbishInControlMemoryHurtsNobodyElse) {
  std::string url = FreeUrl();
  Ranks ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>());
    ASSERT_CODE(0, ranks[rank]->Do("init " + url + " 2 " + S(rank) + " operation_timeout=1"));
  }
  CreateAll(ranks);
  // All of both ranks' control memory, as a stray write of a kernel would: 20 MiB below the memory,
  // 10 a rank.
  EXPECT_CODE(0, ranks[1]->Do("store 0 0 -20971520 8388608 5"));
  EXPECT_CODE(0, ranks[1]->Do("store 0 0 -10485760 8388608 6"));
  for (const char* command : {"barrier 0", "gather 0 64 1", "alloc 0 8", "wait 0 0 1 0"}) {
    Answer answer = ranks[0]->Do(command);  // right or wrong, but it ends
    EXPECT_NE(-9999, answer.code) << command << ": " << answer.text;
  }
  EXPECT_CODE(0, ranks[0]->Do("put 0 1 0 4096 1"));
  EXPECT_CODE(0, ranks[0]->Do("destroy 0"));
  EXPECT_EQ(0, ranks[0]->Finish());
}

}  // namespace
}  // namespace memfabric::cluster
