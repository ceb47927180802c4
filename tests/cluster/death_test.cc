// Ranks that are killed or stopped, in every phase; what the others see, and how soon.

#include <signal.h>

#include "cluster/rank_process.h"

namespace memfabric::cluster {
namespace {

using ::testing::HasSubstr;

std::string S(std::uint64_t n) { return std::to_string(n); }

struct Phase {
  const char* name;
  std::vector<std::string> done;  // commands that end before the kill
  std::string running;            // command that is under way at the kill, if any
};

class KilledIn : public ::testing::TestWithParam<Phase> {};

TEST_P(KilledIn, TheOthersGoOnAndTheRankCanBeStartedAgainAtOnce) {
  std::string url = FreeUrl();
  auto ranks = StartRanks(url, 2, 3);
  for (auto& rank : ranks) {
    ASSERT_CODE(0, rank->Do("create 0 0x2000000 0"));
    ASSERT_CODE(0, rank->Do("join 0"));
  }
  {
    RankProcess victim;
    for (const auto& command : GetParam().done)
      ASSERT_CODE(0, victim.Do(command.substr(0, 4) == "init" ? "init " + url + " 3 2" : command));
    if (!GetParam().running.empty()) victim.Send(GetParam().running);
    victim.Kill();
  }
  EXPECT_CODE(0, ranks[0]->Do("try_fill 0 2 host 2 -2014"));
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 4096 1"));
  EXPECT_CODE(0, ranks[1]->Do("load 0 1 host 0 4096 1"));

  RankProcess again;
  ASSERT_CODE(0, again.Do("init " + url + " 3 2"));
  ASSERT_CODE(0, again.Do("create 0 0x2000000 0"));
  ASSERT_CODE(0, again.Do("join 0"));
  EXPECT_CODE(0, ranks[0]->Do("fill 0 2 host 0 0x100000 77"));
  EXPECT_CODE(0, again.Do("load 0 2 host 0 0x100000 77"));
  EXPECT_CODE(0, again.Do("fill 0 0 host 0 4096 78"));
  EXPECT_CODE(0, ranks[0]->Do("load 0 0 host 0 4096 78"));
}

INSTANTIATE_TEST_SUITE_P(
    Phases, KilledIn,
    ::testing::Values(Phase{"Initialized", {"init"}, ""},
                      Phase{"Creating", {"init"}, "create 0 0x2000000 0"},
                      Phase{"Created", {"init", "create 0 0x2000000 0"}, ""},
                      Phase{"Joining", {"init", "create 0 0x2000000 0"}, "join 0"},
                      Phase{"Joined", {"init", "create 0 0x2000000 0", "join 0"}, ""},
                      Phase{"Copying",
                            {"init", "create 0 0x2000000 0", "join 0", "loop 1 0 0 host 0x1000000"},
                            ""},
                      Phase{"Leaving", {"init", "create 0 0x2000000 0", "join 0"}, "leave 0"},
                      Phase{"Destroying", {"init", "create 0 0x2000000 0", "join 0"}, "destroy 0"}),
    [](const auto& info) { return info.param.name; });

TEST(Death, ACopyLoopToAKilledRankEndsWithinTwoSecondsAndNamesIt) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  All(ranks, "create 0 0x2000000 0");
  All(ranks, "join 0");
  ASSERT_CODE(0, ranks[0]->Do("loop 1 0 2 host 0x1000000"));
  ASSERT_CODE(0, ranks[0]->Do("loop 2 0 1 host 0x1000000"));
  auto killed = std::chrono::steady_clock::now();
  ranks[2]->Kill();
  Answer ended = ranks[0]->Do("loop_wait 1");
  EXPECT_LT(std::chrono::steady_clock::now() - killed, std::chrono::seconds(2));
  EXPECT_EQ(-2014, ended.code);
  EXPECT_THAT(ended.text, HasSubstr("rank 2"));
  EXPECT_CODE(0, ranks[0]->Do("loop_stop 2"));
}

TEST(Death, AStoppedRankIsGivenUpAndComesBackByItself) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  All(ranks, "create 0 0x400000 0");
  All(ranks, "join 0");
  ASSERT_CODE(0, ranks[2]->Do("store 0 2 host 0 4096 5"));
  ranks[2]->Signal(SIGSTOP);
  EXPECT_CODE(0, ranks[0]->Do("try_fill 0 2 host 5 -2014"));
  EXPECT_CODE(0, ranks[1]->Do("try_fill 0 2 host 1 -2014"));
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 4096 1"));
  ranks[2]->Signal(SIGCONT);
  // It learns from the store, comes back as a new epoch, and keeps what it held.
  EXPECT_CODE(0, ranks[0]->Do("try_fill 0 2 host 10 0"));
  EXPECT_CODE(0, ranks[2]->Do("try_fill 0 0 host 10 0"));
  EXPECT_CODE(0, ranks[1]->Do("fill 0 2 host 4096 4096 6"));
  EXPECT_CODE(0, ranks[2]->Do("load 0 2 host 4096 4096 6"));
}

TEST(Death, AStoppedRankWhoseRankWasTakenStaysOut) {
  std::string url = FreeUrl();
  auto ranks = StartRanks(url, 2, 2);
  All(ranks, "create 0 0x200000 0");
  All(ranks, "join 0");
  ranks[1]->Signal(SIGSTOP);
  EXPECT_CODE(0, ranks[0]->Do("try_fill 0 1 host 5 -2014"));
  RankProcess heir;
  ASSERT_CODE(0, heir.Do("init " + url + " 2 1"));
  ASSERT_CODE(0, heir.Do("create 0 0x200000 0"));
  ASSERT_CODE(0, heir.Do("join 0"));
  ranks[1]->Signal(SIGCONT);
  EXPECT_CODE(0, ranks[1]->Do("try_fill 0 0 host 10 -2010"));
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 4096 8"));
  EXPECT_CODE(0, heir.Do("load 0 1 host 0 4096 8"));
}

TEST(Death, AStoppedMemberDelaysAJoinByItsLeaseAndNoLonger) {
  std::string url = FreeUrl();
  auto ranks = StartRanks(url, 3, 3);
  All(ranks, "create 0 0x200000 0");
  ASSERT_CODE(0, ranks[0]->Do("join 0"));
  ASSERT_CODE(0, ranks[1]->Do("join 0"));
  ranks[1]->Signal(SIGSTOP);
  auto began = std::chrono::steady_clock::now();
  EXPECT_CODE(0, ranks[2]->Do("join 0"));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(6));
  EXPECT_CODE(0, ranks[2]->Do("fill 0 0 host 0 4096 1"));
  ranks[1]->Signal(SIGCONT);
  EXPECT_CODE(0, ranks[2]->Do("try_fill 0 1 host 10 0"));
}

TEST(Death, AllOfThemKilledLeaveNothingThatHindersTheNextOnes) {
  std::string url = FreeUrl();
  for (int round = 0; round < 3; ++round) {
    auto ranks = StartRanks(url, 4, 4);
    All(ranks, "create 0 " + S((round + 1) * 0x200000) + " 0");
    All(ranks, "join 0");
    for (auto& rank : ranks) rank->Kill();
  }
}

}  // namespace
}  // namespace memfabric::cluster
