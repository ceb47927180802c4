// The store's process is killed, stopped or moved while a pool is in use.

#include <signal.h>

#include "cluster/rank_process.h"

namespace memfabric::cluster {
namespace {

std::string S(std::uint64_t n) { return std::to_string(n); }

class StoreServedBy : public ::testing::TestWithParam<int> {};

TEST_P(StoreServedBy, KilledTheOthersGoOnAndALaterRankJoins) {
  int count = GetParam();
  std::string url = FreeUrl();
  auto ranks = StartRanks(url, count, count + 1);
  All(ranks, "create 0 0x2000000 0");
  All(ranks, "join 0");
  ASSERT_CODE(0, ranks[1]->Do("loop 1 0 " + S(count - 1) + " host 0x100000"));
  ranks[0]->Kill();  // served the store
  // A newcomer finds the address served again and everybody back in it.
  RankProcess late;
  ASSERT_CODE(0, late.Do("init " + url + " " + S(count + 1) + " " + S(count)));
  ASSERT_CODE(0, late.Do("create 0 0x2000000 0"));
  ASSERT_CODE(0, late.Do("join 0"));
  EXPECT_CODE(0, ranks[1]->Do("loop_stop 1"));
  for (int rank = 1; rank < count; ++rank) {
    EXPECT_CODE(0, late.Do("fill 0 " + S(rank) + " host 0 4096 " + S(rank)));
    EXPECT_CODE(0, ranks[rank]->Do("load 0 " + S(rank) + " host 0 4096 " + S(rank)));
    EXPECT_CODE(0, ranks[rank]->Do("fill 0 " + S(count) + " host 0 4096 1"));
  }
  EXPECT_CODE(-2014, late.Do("fill 0 0 host 0 4096 1"));
  // The rank that died can come back, and finds its place free.
  RankProcess first;
  ASSERT_CODE(0, first.Do("init " + url + " " + S(count + 1) + " 0"));
  ASSERT_CODE(0, first.Do("create 0 0x2000000 0"));
  ASSERT_CODE(0, first.Do("join 0"));
  EXPECT_CODE(0, late.Do("fill 0 0 host 0 4096 1"));
}

INSTANTIATE_TEST_SUITE_P(Ranks, StoreServedBy, ::testing::Values(2, 3, 8));

TEST(StoreLoss, ADuplicateIsStillRefusedAfterATakeover) {
  std::string url = FreeUrl();
  auto ranks = StartRanks(url, 3, 3);
  All(ranks, "create 0 0x200000 0");
  All(ranks, "join 0");
  ranks[0]->Kill();
  RankProcess second;
  EXPECT_CODE(-2006, second.Do("init " + url + " 3 2"));
}

TEST(StoreLoss, AStoreThatWasStoppedForALongTimeGivesNobodyUp) {
  std::string url = FreeUrl();
  RankProcess server;
  ASSERT_CODE(0, server.Do("serve " + url));
  auto ranks = StartRanks(url, 2, 2);
  All(ranks, "create 0 0x200000 0");
  All(ranks, "join 0");
  ASSERT_CODE(0, ranks[0]->Do("watch 0"));
  ASSERT_CODE(0, ranks[0]->Do("loop 1 0 1 host 4096"));
  server.Signal(SIGSTOP);
  EXPECT_CODE(0, ranks[0]->Do("events 1 5"));  // five seconds without a store, longer than a lease
  server.Signal(SIGCONT);
  EXPECT_CODE(0, ranks[1]->Do("fill 0 0 host 0 4096 1"));
  EXPECT_EQ("", ranks[0]->Do("events 1 4").text);
  EXPECT_CODE(0, ranks[0]->Do("loop_stop 1"));
}

TEST(StoreLoss, CallsThatNeedItSayReconnectOnceTheLeaseCanNotLiveAnyMore) {
  std::string url = FreeUrl();
  RankProcess server;
  ASSERT_CODE(0, server.Do("serve " + url));
  RankProcess rank;
  ASSERT_CODE(0, rank.Do("init " + url + " 1 0 create_timeout=5 operation_timeout=5"));
  ASSERT_CODE(0, rank.Do("create2 0 0x200000 0x400000 0 0"));
  ASSERT_CODE(0, rank.Do("join 0"));
  ASSERT_CODE(0, rank.Do("create 1 0x200000 0"));
  server.Signal(SIGSTOP);
  for (const char* call : {"join 1", "create 2 0x200000 0", "extend 0 host 0x200000"}) {
    Answer answer = rank.Do(call);
    EXPECT_EQ(-2010, answer.code) << call;
    EXPECT_THAT(answer.text, ::testing::HasSubstr("could not be renewed")) << call;
  }
  EXPECT_CODE(0, rank.Do("fill 0 0 host 0 4096 1"));
  server.Signal(SIGCONT);
  EXPECT_CODE(0, rank.Do("join 1"));
}

TEST(StoreLoss, TheStoreMovesAndThePoolGoesOn) {
  std::string first = FreeUrl(), second = FreeUrl();
  RankProcess old_server;
  auto new_server = std::make_unique<RankProcess>();
  ASSERT_CODE(0, old_server.Do("serve " + first));
  auto ranks = StartRanks(first, 2, 3);
  All(ranks, "create 0 0x200000 0");
  All(ranks, "join 0");
  ASSERT_CODE(0, ranks[0]->Do("loop 1 0 1 host 4096"));
  ASSERT_CODE(0, new_server->Do("serve " + second));
  All(ranks, "move " + second);
  old_server.Kill();
  RankProcess late;
  ASSERT_CODE(0, late.Do("init " + second + " 3 2"));
  ASSERT_CODE(0, late.Do("create 0 0x200000 0"));
  ASSERT_CODE(0, late.Do("join 0"));
  EXPECT_CODE(0, late.Do("fill 0 0 host 0 4096 3"));
  EXPECT_CODE(0, ranks[0]->Do("load 0 0 host 0 4096 3"));
  EXPECT_CODE(0, ranks[0]->Do("loop_stop 1"));
}

}  // namespace
}  // namespace memfabric::cluster
