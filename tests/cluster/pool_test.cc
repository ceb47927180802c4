// What pools do while everybody is well.

#include <set>
#include <sstream>

#include "cluster/rank_process.h"

namespace memfabric::cluster {
namespace {

using ::testing::HasSubstr;

std::string S(std::uint64_t n) { return std::to_string(n); }

// Every pair of ranks, both ways, by copies and by plain instructions.
void ExpectAllPairs(const std::vector<std::unique_ptr<RankProcess>>& ranks,
                    const std::string& zone) {
  int count = static_cast<int>(ranks.size());
  for (int from = 0; from < count; ++from) {
    for (int to = 0; to < count; ++to) {
      std::string where = " 0 " + S(to) + " " + zone + " " + S(4096 * from) + " 4096 ";
      std::string seed = S(100 * from + to);
      EXPECT_CODE(0, ranks[from]->Do("fill" + where + seed));
      EXPECT_CODE(0, ranks[to]->Do("load" + where + seed));
      EXPECT_CODE(0, ranks[(from + 1) % count]->Do("check" + where + seed));
    }
  }
}

class PoolOf : public ::testing::TestWithParam<int> {};

TEST_P(PoolOf, EveryRankReachesEveryOther) {
  auto ranks = StartRanks(FreeUrl(), GetParam(), GetParam());
  All(ranks, "create 0 0x400000 0x200000");
  All(ranks, "join 0");
  ExpectAllPairs(ranks, "host");
  ExpectAllPairs(ranks, "device");
  for (int rank = 0; rank < GetParam(); ++rank) {
    EXPECT_EQ("mapped", ranks[0]->Do("path 0 " + S(rank)).text);
  }
  std::istringstream members(ranks[0]->Do("members 0").text);
  std::string member;
  for (int rank = 0; rank < GetParam(); ++rank) {
    members >> member;
    EXPECT_EQ(S(rank) + ":" + S(ranks[rank]->pid()) + ":4194304:2097152", member);
  }
  for (auto& rank : ranks) EXPECT_EQ(0, rank->Finish());
}

INSTANTIATE_TEST_SUITE_P(Ranks, PoolOf, ::testing::Values(1, 2, 3, 8));

TEST(Pool, SixtyFourRanksReachTheirNeighbours) {
  auto ranks = StartRanks(FreeUrl(), 64, 64);
  All(ranks, "create 0 0x200000 0");
  All(ranks, "join 0");
  for (int rank = 0; rank < 64; ++rank)
    ranks[rank]->Send("fill 0 " + S((rank + 1) % 64) + " host 0 65536 " + S(rank));
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  for (int rank = 0; rank < 64; ++rank)
    ranks[rank]->Send("load 0 " + S(rank) + " host 0 65536 " + S((rank + 63) % 64));
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
}

TEST(Pool, AutoRankingGivesTheLowestFreeRanks) {
  std::string url = FreeUrl();
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int i = 0; i < 8; ++i) ranks.push_back(std::make_unique<RankProcess>());
  for (auto& rank : ranks) rank->Send("init " + url + " 8 auto");
  std::set<std::string> taken;
  for (auto& rank : ranks) taken.insert(rank->Receive().text);
  EXPECT_EQ(8u, taken.size());
  EXPECT_TRUE(taken.contains("0") && taken.contains("7"));
  RankProcess ninth;
  Answer full = ninth.Do("init " + url + " 8 unset");
  EXPECT_EQ(-2009, full.code) << full.text;
  ranks.back()->Kill();
  EXPECT_CODE(0, ninth.Do("init " + url + " 8 unset"));  // a rank that is not given is assigned
}

TEST(Pool, TheSecondProcessOfARankIsRefusedAndNamed) {
  std::string url = FreeUrl();
  auto ranks = StartRanks(url, 2, 2);
  RankProcess second;
  Answer refused = second.Do("init " + url + " 2 1");
  EXPECT_EQ(-2006, refused.code);
  EXPECT_THAT(refused.text, HasSubstr(S(ranks[1]->pid())));
}

TEST(Pool, PoolsHaveEqualAddressesInWhateverOrderTheyAreCreated) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  std::vector<std::vector<int>> orders{{0, 1, 2}, {2, 0, 1}, {1, 2, 0}};
  for (int step = 0; step < 3; ++step) {
    for (int rank = 0; rank < 3; ++rank) {
      int pool = orders[rank][step];
      ranks[rank]->Send("create2 " + S(pool) + " 0x200000 " + S((pool + 1) * 0x400000) + " 0 " +
                        S(pool * 0x200000));
    }
    for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  }
  for (int pool = 0; pool < 3; ++pool) {
    auto address = ranks[0]->Do("ptr " + S(pool) + " 1 host").text;
    EXPECT_NE("0", address);
    for (auto& rank : ranks) EXPECT_EQ(address, rank->Do("ptr " + S(pool) + " 1 host").text);
    All(ranks, "join " + S(pool));
  }
  EXPECT_CODE(0, ranks[0]->Do("fill 2 2 host 0 4096 5"));
  EXPECT_CODE(0, ranks[2]->Do("load 2 2 host 0 4096 5"));
}

TEST(Pool, RanksComeAndGoAndComeBack) {
  auto ranks = StartRanks(FreeUrl(), 3, 8);
  All(ranks, "create 0 0x200000 0");
  for (int round = 0; round < 5; ++round) {
    All(ranks, "join 0");
    EXPECT_CODE(0, ranks[0]->Do("join 0"));  // again: 0
    EXPECT_CODE(0, ranks[0]->Do("fill 0 2 host 0 4096 " + S(round)));
    EXPECT_CODE(0, ranks[2]->Do("load 0 2 host 0 4096 " + S(round)));
    EXPECT_CODE(0, ranks[2]->Do("leave 0"));
    EXPECT_CODE(-2003, ranks[2]->Do("leave 0"));
    EXPECT_CODE(0, ranks[0]->Do("try_fill 0 2 host 2 -2014"));
    EXPECT_CODE(0, ranks[0]->Do("load 0 2 host 0 0 1"));  // its last bytes stay readable: no crash
    EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 4096 9"));
    EXPECT_CODE(0, ranks[0]->Do("leave 0"));
    EXPECT_CODE(0, ranks[1]->Do("leave 0"));
  }
}

TEST(Pool, ARankThatGivesNothingWaitsForOneThatGives) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  ranks[1]->Send("create 0 0 0");
  EXPECT_CODE(0, ranks[0]->Do("create 0 0x400000 0"));
  EXPECT_CODE(0, ranks[1]->Receive());
  All(ranks, "join 0");
  EXPECT_EQ("0", ranks[1]->Do("local 0 host").text);
  EXPECT_CODE(0, ranks[1]->Do("fill 0 0 host 0x3ff000 4096 3"));
  EXPECT_CODE(0, ranks[0]->Do("load 0 0 host 0x3ff000 4096 3"));
  EXPECT_CODE(-2000, ranks[0]->Do("fill 0 1 host 0 4096 3"));
}

TEST(Pool, ExtendedMemoryIsReachedWhenTheCallReturns) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  All(ranks, "create2 0 0x200000 0x800000 0 0x400000");
  All(ranks, "join 0");
  EXPECT_CODE(-2000, ranks[0]->Do("fill 0 1 host 0x200000 4096 1"));
  EXPECT_CODE(0, ranks[1]->Do("extend 0 host 0x400000"));
  EXPECT_EQ("6291456", ranks[1]->Do("local 0 host").text);
  // across the old end, to the last byte
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0x1ff000 0x401000 1"));
  EXPECT_CODE(0, ranks[2]->Do("load 0 1 host 0x1ff000 0x401000 1"));
  EXPECT_CODE(-2000, ranks[0]->Do("fill 0 1 host 0x5ff001 4096 1"));
  EXPECT_CODE(0, ranks[2]->Do("extend 0 device 0x200000"));  // from nothing
  EXPECT_CODE(0, ranks[0]->Do("fill 0 2 device 0 0x200000 2"));
  EXPECT_CODE(0, ranks[2]->Do("load 0 2 device 0 0x200000 2"));
  Answer beyond = ranks[1]->Do("extend 0 host 0x400000");
  EXPECT_EQ(-2000, beyond.code);
  EXPECT_THAT(beyond.text, HasSubstr("8 MiB"));
}

TEST(Pool, EventsTellWhoComesAndGoesInOrder) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  All(ranks, "create 0 0x200000 0");
  EXPECT_CODE(0, ranks[0]->Do("watch 0"));
  EXPECT_CODE(0, ranks[0]->Do("join 0"));
  EXPECT_CODE(0, ranks[1]->Do("join 0"));
  EXPECT_EQ("+1", ranks[0]->Do("events 1 10").text);
  EXPECT_CODE(0, ranks[2]->Do("join 0"));
  EXPECT_CODE(0, ranks[1]->Do("leave 0"));
  EXPECT_EQ("+1 +2 -1", ranks[0]->Do("events 3 10").text);
  ranks[2]->Kill();
  EXPECT_EQ("+1 +2 -1 -2", ranks[0]->Do("events 4 10").text);
}

TEST(Pool, AsynchronousCopiesAreThereAfterTheWait) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  All(ranks, "create 0 0x4000000 0");
  All(ranks, "join 0");
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 0x4000000 7 flags=1"));
  EXPECT_CODE(0, ranks[0]->Do("wait 0"));
  EXPECT_CODE(0, ranks[1]->Do("load 0 1 host 0 0x4000000 7"));
  // hints that nobody knows
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 4096 9 flags=0x80000008"));
  EXPECT_CODE(0, ranks[1]->Do("load 0 1 host 0 4096 9"));
}

TEST(Pool, GlobalToGlobalMovesBetweenTwoOthers) {
  auto ranks = StartRanks(FreeUrl(), 3, 3);
  All(ranks, "create 0 0x400000 0");
  All(ranks, "join 0");
  EXPECT_CODE(0, ranks[1]->Do("store 0 1 host 4096 0x300000 11"));
  EXPECT_CODE(0, ranks[0]->Do("g2g 0 1 host 2 4096 0x300000"));
  EXPECT_CODE(0, ranks[2]->Do("load 0 2 host 4096 0x300000 11"));
}

TEST(Pool, MemoryOfTheUsersOwnFileBacksASlot) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  EXPECT_CODE(0, ranks[0]->Do("create2 0 0x400000 0x400000 0 0 memfd=0x400000"));
  EXPECT_CODE(0, ranks[1]->Do("create2 0 0x400000 0x400000 0 0"));
  All(ranks, "join 0");
  EXPECT_CODE(0, ranks[1]->Do("fill 0 0 host 0 0x400000 4"));
  EXPECT_CODE(0, ranks[0]->Do("load 0 0 host 0 0x400000 4"));
  RankProcess& third = *ranks[1];
  EXPECT_CODE(-2000, third.Do("create2 1 0x400000 0x400000 0 0 memfd=0x200000"));
}

TEST(Pool, AddressesOfFiftySixBitsAreNumbersThatCopiesTake) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  All(ranks, "create2 0 0x200000 0x200000 0 0 gva56=1");
  All(ranks, "join 0");
  EXPECT_GE(std::stoull(ranks[0]->Do("ptr 0 1 host").text), 1ULL << 48);
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 0x200000 6"));
  EXPECT_CODE(0, ranks[1]->Do("check 0 1 host 0 0x200000 6"));
}

TEST(Pool, CyclesLeaveNothingBehind) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  EXPECT_CODE(0, ranks[0]->Do("cycles 20 0x200000"));  // what is made once is there now
  std::istringstream before(ranks[0]->Do("usage").text);
  EXPECT_CODE(0, ranks[0]->Do("cycles 200 0x200000"));
  std::istringstream after(ranks[0]->Do("usage").text);
  std::size_t was = 0, is = 0;
  // Mappings come and go a little with malloc's; what leaked would show 200 times.
  for (const auto& [what, slack] : {std::pair{"fds", 2u}, {"mappings", 20u}, {"threads", 2u}}) {
    before >> was;
    after >> is;
    EXPECT_LE(is, was + slack) << what;
  }
  before >> was;
  after >> is;
  EXPECT_LT(is, was + 4096) << "resident KiB";
}

TEST(Pool, TwoJobsOnOneStoreUrlOfDifferentPortsDontMeet) {
  auto first = StartRanks(FreeUrl(), 1, 1);
  auto second = StartRanks(FreeUrl(), 1, 1);
  EXPECT_CODE(0, first[0]->Do("create 0 0x200000 0"));
  EXPECT_CODE(0, second[0]->Do("create 0 0x400000 0"));
  EXPECT_CODE(0, first[0]->Do("join 0"));
  EXPECT_CODE(0, second[0]->Do("join 0"));
  EXPECT_EQ("0:" + S(second[0]->pid()) + ":4194304:0", second[0]->Do("members 0").text);
}

}  // namespace
}  // namespace memfabric::cluster
