// What ranks do with an object while everybody is well.

#include <set>

#include "shm/shm_ranks.h"

namespace memfabric::cluster {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ShmOf : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    ranks_ = StartRanks(FreeUrl(), GetParam(), GetParam());
    CreateAll(ranks_);
  }
  Ranks ranks_;
};

TEST_P(ShmOf, MemoryOfEveryRankIsReachedByPlainInstructionsAndByCalls) {
  int count = GetParam();
  for (int from = 0; from < count; ++from) {
    int to = (from + 1) % count;
    std::string where = " 0 " + S(to) + " 4096 100000 ";
    EXPECT_CODE(0, ranks_[from]->Do("store" + where + S(from)));
    EXPECT_CODE(0, ranks_[to]->Do("load" + where + S(from)));
    EXPECT_CODE(0, ranks_[from]->Do("put" + where + S(from + 100)));
    EXPECT_CODE(0, ranks_[(to + 1) % count]->Do("check" + where + S(from + 100)));
    EXPECT_CODE(0, ranks_[from]->Do("put" + where + S(from + 200) + " flags=1"));
    EXPECT_CODE(0, ranks_[to]->Do("check" + where + S(from + 200) + " flags=1"));
  }
}

TEST_P(ShmOf, BarriersAndGathersOfAllSizesTakeTurns) {
  for (int round = 0; round < 3; ++round) {
    All(ranks_, "barrier 0 50");
    for (const char* size : {"1", "8", "4096", "65536"})
      All(ranks_, std::string("gather 0 ") + size + " " + S(round) + " 5");
  }
}

TEST_P(ShmOf, BarriersFromTwoThreadsEachCountAsOne) {
  All(ranks_, "two_threads 0 200");
  All(ranks_, "barrier 0");
}

TEST_P(ShmOf, AtomicsLoseNothing) {
  All(ranks_, "adds 0 0 8 2000");
  EXPECT_EQ(S(2000 * GetParam()), ranks_[0]->Do("atomic fetch 0 0 8 0").text);
}

TEST_P(ShmOf, ValuesHaveOneOwnerAndAreTheLowest) {
  std::set<std::string> taken;
  for (auto& rank : ranks_) rank->Send("alloc 0 1024");
  for (auto& rank : ranks_) taken.insert(rank->Receive().text);
  std::set<std::string> wanted;
  for (int i = 0; i < GetParam(); ++i) wanted.insert(S(i));
  EXPECT_EQ(wanted, taken);
  EXPECT_CODE(-2009, ranks_[0]->Do("alloc 0 " + S(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Ranks, ShmOf, ::testing::Values(1, 2, 3, 8, 64));

class ShmPair : public ::testing::Test {
 protected:
  void SetUp() override {
    ranks_ = StartRanks(FreeUrl(), 2, 2);
    CreateAll(ranks_);
  }
  Ranks ranks_;
};

TEST_F(ShmPair, ASignalShowsItsPayload) {
  ranks_[1]->Send("wait 0 0 0 7");
  EXPECT_CODE(0, ranks_[0]->Do("signal 0 1 4096 65536 3 0 7 0"));
  EXPECT_CODE(0, ranks_[1]->Receive());
  EXPECT_CODE(0, ranks_[1]->Do("load 0 1 4096 65536 3"));
  EXPECT_CODE(0, ranks_[0]->Do("signal 0 1 4096 8 4 0 5 1"));
  EXPECT_CODE(0, ranks_[1]->Do("wait 0 0 0 12 0"));
  EXPECT_CODE(-2000, ranks_[0]->Do("signal 0 1 4096 8 4 0 5 2"));
}

TEST_F(ShmPair, PayloadsComeBeforeTheirSignals) {  // the long run is in tests/group
  ranks_[0]->Send("pingpong 0 1 20000");
  EXPECT_CODE(0, ranks_[1]->Do("pingpong 0 0 20000"));
  EXPECT_CODE(0, ranks_[0]->Receive());
}

TEST_F(ShmPair, EveryComparisonAndEveryWriterEndsAWait) {
  EXPECT_CODE(0, ranks_[0]->Do("atomic set 0 1 16 10"));
  for (const auto& [cmp, value] : {std::pair{0, 10}, {1, 9}, {2, 9}, {3, 10}, {4, 11}, {5, 10}})
    EXPECT_CODE(0, ranks_[1]->Do("wait 0 16 " + S(cmp) + " " + S(value)));
  EXPECT_CODE(-2000, ranks_[1]->Do("wait 0 16 6 1"));
  EXPECT_CODE(-2000, ranks_[1]->Do("wait 0 12 0 1"));
  EXPECT_CODE(-2000, ranks_[1]->Do("wait 0 0x200000 0 1"));
  EXPECT_CODE(-2000, ranks_[1]->Do("wait 0 0 0 1 2"));
  ranks_[1]->Send("wait 0 4096 1 0");
  EXPECT_CODE(0, ranks_[0]->Do("store 0 1 4096 8 77"));  // a plain store rings nobody
  EXPECT_CODE(0, ranks_[1]->Receive());
}

TEST_F(ShmPair, AtomicsGiveWhatTheCellHeld) {
  RankProcess& rank = *ranks_[0];
  EXPECT_EQ("0", rank.Do("atomic add 0 1 24 5").text);
  EXPECT_EQ("5", rank.Do("atomic swap 0 1 24 12").text);
  EXPECT_EQ("12", rank.Do("atomic and 0 1 24 10").text);
  EXPECT_EQ("8", rank.Do("atomic or 0 1 24 3").text);
  EXPECT_EQ("11", rank.Do("atomic xor 0 1 24 1").text);
  EXPECT_EQ("10", rank.Do("atomic cas 0 1 24 99 11").text);
  EXPECT_EQ("10", rank.Do("atomic cas 0 1 24 99 10").text);
  EXPECT_EQ("99", ranks_[1]->Do("atomic fetch 0 1 24 0").text);
  for (const char* bad : {"0 1 28 1", "0 1 0x200000 1", "0 2 0 1"})
    EXPECT_CODE(-2000, rank.Do(std::string("atomic add ") + bad));
  EXPECT_CODE(0, rank.Do("atomic add 0 1 0x1ffff8 1"));  // the last cell
}

TEST_F(ShmPair, RangesEndWhereTheMemoryEnds) {
  EXPECT_CODE(0, ranks_[0]->Do("put 0 1 0x1fffff 1 1"));
  EXPECT_CODE(0, ranks_[0]->Do("check 0 1 0x1fffff 1 1"));
  for (const char* command : {"put", "check"}) {
    for (const char* range : {"0 1 0x200000 1 1", "0 1 0x1fffff 2 1", "0 1 0xffffffffffffffff 2 1",
                              "0 2 0 1 1", "0 1 0 0 1"}) {
      Answer answer = ranks_[0]->Do(std::string(command) + " " + range);
      EXPECT_EQ(-2000, answer.code) << command << " " << range;
    }
  }
  EXPECT_CODE(0, ranks_[0]->Do("put 0 1 0 8 1 flags=2"));  // a hint of some other release
}

TEST_F(ShmPair, AContextIsWhereKernelsLook) {
  for (const char* size : {"1", "65536"})
    EXPECT_CODE(0, ranks_[0]->Do(std::string("context 0 ") + size + " 5"));
  EXPECT_CODE(0, ranks_[1]->Do("context 0 100 6"));
  for (const char* size : {"0", "65537"})
    EXPECT_CODE(-2000, ranks_[0]->Do(std::string("context 0 ") + size + " 5"));
}

TEST_F(ShmPair, WhatReachesARankIsSaid) {
  EXPECT_EQ("3", ranks_[0]->Do("reach 0 1").text);
  EXPECT_EQ("3", ranks_[0]->Do("reach 0 0").text);
  EXPECT_CODE(-2000, ranks_[0]->Do("reach 0 2"));
  EXPECT_EQ("3", ranks_[0]->Do("support").text);
  EXPECT_EQ("mapped", ranks_[0]->Do("path 0 1").text);
  EXPECT_EQ("0 1", ranks_[0]->Do("live 0").text);
}

TEST_F(ShmPair, UnequalGathersAreNamed) {
  ranks_[1]->Send("gather 0 16 1");
  Answer own = ranks_[0]->Do("gather 0 8 1");
  Answer theirs = ranks_[1]->Receive();
  EXPECT_EQ(-2000, own.code);
  EXPECT_EQ(-2000, theirs.code);
  EXPECT_THAT(own.text, AllOf(HasSubstr("rank 1"), HasSubstr("16 bytes"), HasSubstr("8 bytes")));
  ranks_[1]->Send("barrier 0");
  own = ranks_[0]->Do("gather 0 8 1");
  EXPECT_THAT(own.text, AllOf(HasSubstr("rank 1"), HasSubstr("barrier")));
  EXPECT_CODE(0, ranks_[1]->Receive());
  All(ranks_, "gather 0 8 1");  // still in step
  EXPECT_CODE(-2000, ranks_[0]->Do("gather 0 0 1"));
  EXPECT_CODE(-2000, ranks_[0]->Do("gather 0 65537 1"));
}

TEST_F(ShmPair, ReleasedValuesAreGivenAgain) {
  EXPECT_EQ("0", ranks_[0]->Do("alloc 0 4").text);
  EXPECT_EQ("1", ranks_[1]->Do("alloc 0 4").text);
  EXPECT_CODE(-2007, ranks_[0]->Do("release 0 1"));
  EXPECT_CODE(0, ranks_[0]->Do("release 0 0"));
  EXPECT_EQ("0", ranks_[1]->Do("alloc 0 4").text);
  EXPECT_CODE(-2000, ranks_[0]->Do("alloc 0 0"));
  EXPECT_CODE(-2000, ranks_[0]->Do("alloc 0 1025"));
  ranks_[1]->Kill();  // what it had is free
  EXPECT_CODE(-2014, ranks_[0]->Do("wait 0 0 1 0"));
  EXPECT_EQ("0", ranks_[0]->Do("alloc 0 4").text);
}

TEST_F(ShmPair, AForkedChildSeesNoObjectAndTheParentGoesOn) {
  EXPECT_CODE(0, ranks_[1]->Do("fork 0"));
  EXPECT_CODE(0, ranks_[0]->Do("fork 0"));  // serves the store
  All(ranks_, "barrier 0 10");
  EXPECT_CODE(0, ranks_[0]->Do("put 0 1 0 4096 1"));
  EXPECT_CODE(0, ranks_[1]->Do("load 0 1 0 4096 1"));
}

TEST(Shm, SubgroupsMeetByKey) {
  auto ranks = StartRanks(FreeUrl(), 4, 4);
  CreateAll(ranks);
  for (int round = 0; round < 3; ++round) {
    for (int rank = 0; rank < 4; ++rank)  // rows, in reverse order
      ranks[rank]->Send("sub 0 row/" + S(rank / 2) + " 2 " + S(1 - rank % 2) + " 1000 " + S(round));
    for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
    for (int rank = 0; rank < 4; ++rank)
      ranks[rank]->Send("sub 0 column" + S(rank % 2) + " 2 " + S(rank / 2) + " 65536 7");
    for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  }
  All(ranks, "barrier 0");
  Answer other = ranks[0]->Do("sub 0 row/0 3 1");
  EXPECT_EQ(-2000, other.code);
  EXPECT_THAT(other.text, AllOf(HasSubstr("1 of 2"), HasSubstr("1 of 3")));
  ranks[0]->Send("sub 0 odd 2 0");
  ranks[1]->Send("sub 0 odd 3 1");
  for (int rank : {0, 1}) EXPECT_CODE(-2000, ranks[rank]->Receive());
  EXPECT_CODE(-2000, ranks[0]->Do("sub 0 x 2 2"));
  EXPECT_CODE(-2000, ranks[0]->Do("sub 0 " + std::string(129, 'k') + " 1 0"));
  EXPECT_CODE(0, ranks[0]->Do("sub 0 " + std::string(128, 'k') + " 1 0 8 1"));
}

}  // namespace
}  // namespace memfabric::cluster
