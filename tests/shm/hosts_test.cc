// Ranks on different hosts: processes of this one with different host identities, so that they meet
// by tcp.

#include <signal.h>

#include "shm/shm_ranks.h"

namespace memfabric::cluster {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;

// `count` ranks, every `each` of them on a host of their own.
Ranks OnHosts(int count, int each, const std::string& options = "") {
  std::string url = FreeUrl();
  Ranks ranks;
  for (int rank = 0; rank < count; ++rank)
    ranks.push_back(std::make_unique<RankProcess>(
        std::map<std::string, std::string>{{"MEMFABRIC_HOST_ID", "host-" + S(rank / each)}}));
  for (int rank = 0; rank < count; ++rank)
    ranks[rank]->Send("init " + url + " " + S(count) + " " + S(rank) + " " + options);
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  return ranks;
}

class ShmAcross : public ::testing::TestWithParam<std::pair<int, int>> {};

TEST_P(ShmAcross, EverythingWorksAcross) {
  const auto& [count, each] = GetParam();
  auto ranks = OnHosts(count, each);
  CreateAll(ranks);
  std::string last = S(count - 1);
  EXPECT_THAT(ranks[0]->Do("path 0 " + last).text, HasSubstr("tcp"));
  EXPECT_EQ("2", ranks[0]->Do("reach 0 " + last).text);
  All(ranks, "barrier 0 50");
  for (const char* size : {"1", "8", "65536"}) All(ranks, std::string("gather 0 ") + size + " 3 5");
  EXPECT_CODE(0, ranks[0]->Do("put 0 " + last + " 4096 1000000 5"));
  EXPECT_CODE(0, ranks[count - 1]->Do("load 0 " + last + " 4096 1000000 5"));
  EXPECT_CODE(0, ranks[0]->Do("check 0 " + last + " 4096 1000000 5"));
  EXPECT_CODE(0, ranks[0]->Do("put 0 " + last + " 4096 1000000 6 flags=1"));
  EXPECT_CODE(0, ranks[0]->Do("check 0 " + last + " 4096 1000000 6 flags=1"));
  All(ranks, "adds 0 0 8 300");
  EXPECT_EQ(S(300 * count), ranks[count - 1]->Do("atomic fetch 0 0 8 0").text);
  ranks[count - 1]->Send("pingpong 0 0 300");
  EXPECT_CODE(0, ranks[0]->Do("pingpong 0 " + last + " 300"));
  EXPECT_CODE(0, ranks[count - 1]->Receive());
  for (int rank = 0; rank < count; ++rank) EXPECT_EQ(S(rank), ranks[rank]->Do("alloc 0 64").text);
  for (int rank = 0; rank < count; ++rank)
    ranks[rank]->Send("sub 0 reverse " + S(count) + " " + S(count - 1 - rank) + " 100 2");
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  for (auto& rank : ranks) rank->Send("gather 0 65536 1");
  for (auto& rank : ranks) rank->Send("destroy 0");  // at once: nobody may miss a block
  for (int i = 0; i < 2; ++i)
    for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
}

INSTANTIATE_TEST_SUITE_P(All, ShmAcross,
                         ::testing::Values(std::pair{2, 1}, std::pair{3, 1}, std::pair{8, 4}),
                         [](const auto& info) {
                           return std::to_string(info.param.first) + "By" +
                                  std::to_string(info.param.second);
                         });

TEST(ShmHosts, ADeathElsewhereEndsTheWaits) {
  for (const char* command : {"barrier 0", "gather 0 4096 1", "wait 0 0 1 0"}) {
    auto ranks = OnHosts(3, 1);
    CreateAll(ranks);
    for (int rank : {0, 1}) ranks[rank]->Send(command);
    auto killed = steady_clock::now();
    ranks[2]->Kill();
    for (int rank : {0, 1}) {
      Answer answer = ranks[rank]->Receive();
      EXPECT_EQ(-2014, answer.code) << command << ": " << answer.text;
      EXPECT_THAT(answer.text, HasSubstr("rank 2"));
    }
    EXPECT_LT(steady_clock::now() - killed, seconds(3)) << command;
  }
}

TEST(ShmHosts, AStoppedRankElsewhereCountsAsDeadAndABusyOneDoesNot) {
  auto ranks = OnHosts(3, 1);
  CreateAll(ranks);
  // Rank 1 comes later than the silence that a peer is granted, and its library answers meanwhile.
  for (int rank : {0, 2}) ranks[rank]->Send("barrier 0");
  EXPECT_EQ("", ranks[1]->Do("exits 1 3").text);  // waits for what doesn't come
  ranks[1]->Send("barrier 0");
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
  ranks[1]->Signal(SIGSTOP);
  auto stopped = steady_clock::now();
  for (int rank : {0, 2}) ranks[rank]->Send("barrier 0");
  for (int rank : {0, 2}) {
    Answer answer = ranks[rank]->Receive();
    EXPECT_EQ(-2014, answer.code) << answer.text;
    EXPECT_THAT(answer.text, HasSubstr("rank 1"));
  }
  EXPECT_LT(steady_clock::now() - stopped, seconds(5));
}

TEST(ShmHosts, WithStrictOnlyThePathThatWasAskedForWillDo) {
  std::string url = FreeUrl();
  Ranks ranks;
  for (int rank = 0; rank < 2; ++rank)
    ranks.push_back(std::make_unique<RankProcess>(std::map<std::string, std::string>{
        {"MEMFABRIC_HOST_ID", "host-" + S(rank)}, {"MEMFABRIC_STRICT", "1"}}));
  for (int rank = 0; rank < 2; ++rank) ranks[rank]->Send("init " + url + " 2 " + S(rank));
  for (auto& rank : ranks) ASSERT_CODE(0, rank->Receive());
  for (int rank = 0; rank < 2; ++rank) ranks[rank]->Send(Creating(0, 2, rank) + " op=1");
  for (auto& rank : ranks) {
    Answer answer = rank->Receive();
    EXPECT_EQ(-2015, answer.code) << answer.text;
    EXPECT_THAT(answer.text, AllOf(HasSubstr("MTE"), HasSubstr("MEMFABRIC_STRICT")));
  }
  Answer rdma = ranks[0]->Do(Creating(0, 1, 0) + " op=4");
  EXPECT_EQ(-2015, rdma.code) << rdma.text;
  EXPECT_THAT(rdma.text, HasSubstr("RDMA"));
  // the copy engine reaches them
  for (int rank = 0; rank < 2; ++rank) ranks[rank]->Send(Creating(0, 2, rank) + " op=2");
  for (auto& rank : ranks) EXPECT_CODE(0, rank->Receive());
}

TEST(ShmHosts, WhoIsMissingElsewhereIsNamed) {
  auto ranks = OnHosts(2, 1, "operation_timeout=1");
  CreateAll(ranks);
  Answer answer = ranks[0]->Do("barrier 0");
  EXPECT_EQ(-2004, answer.code);
  EXPECT_THAT(answer.text, HasSubstr("rank(s) 1 have not arrived"));
  All(ranks, "barrier 0");
}

}  // namespace
}  // namespace memfabric::cluster
