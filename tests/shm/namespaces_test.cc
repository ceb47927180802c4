// Ranks on hosts that are network namespaces: own interfaces, own addresses, nothing shared but a
// wire.

#include <algorithm>

#include "shm/shm_ranks.h"
#include "support/netns/hosts.h"

namespace memfabric::cluster {
namespace {

using netns::Hosts;
using std::chrono::seconds;
using std::chrono::steady_clock;

using ::testing::HasSubstr;

// rank i is on host GetParam()[i]
class ShmOnHosts : public ::testing::TestWithParam<std::vector<int>> {
 protected:
  void SetUp() override {
    const auto& placement = GetParam();
    auto made = Hosts::Make(1 + *std::max_element(placement.begin(), placement.end()),
                            netns::Wiring::kKernel);
    if (!made.ok()) GTEST_SKIP() << made.status().message();
    hosts_ = std::move(*made);
    Start();
  }
  void Start() {
    std::vector<int> networks;
    for (int host : GetParam()) networks.push_back(hosts_->Namespace(host));
    ranks_.clear();
    ranks_ = StartRanksIn(networks, Hosts::StoreUrl(), static_cast<int>(networks.size()));
    CreateAll(ranks_);
  }
  std::unique_ptr<Hosts> hosts_;
  Ranks ranks_;
};

TEST_P(ShmOnHosts, EveryCallReachesEveryRank) {
  const auto& placement = GetParam();
  int count = static_cast<int>(placement.size());
  for (int from = 0; from < count; ++from) {
    int to = (from + 1) % count;
    bool near = placement[from] == placement[to];
    EXPECT_EQ(near ? "mapped" : "tcp", ranks_[from]->Do("path 0 " + S(to)).text);
    EXPECT_EQ(near ? "3" : "2", ranks_[from]->Do("reach 0 " + S(to)).text);
    std::string where = " 0 " + S(to) + " 4096 300000 ";
    EXPECT_CODE(0, ranks_[from]->Do("put" + where + S(from)));
    EXPECT_CODE(0, ranks_[to]->Do("load" + where + S(from)));
    EXPECT_CODE(0, ranks_[from]->Do("check" + where + S(from)));
    EXPECT_CODE(0, ranks_[from]->Do("put" + where + S(from + 50) + " flags=1"));
    EXPECT_CODE(0, ranks_[to]->Do("load" + where + S(from + 50)));
  }
  All(ranks_, "barrier 0 50");
  for (const char* size : {"1", "48", "49", "65536"})
    All(ranks_, std::string("gather 0 ") + size + " 3 5");
  All(ranks_, "adds 0 0 8 200");
  EXPECT_EQ(S(200 * count), ranks_[count - 1]->Do("atomic fetch 0 0 8 0").text);
  if (count == 1) return;
  ranks_[count - 1]->Send("pingpong 0 0 200");
  EXPECT_CODE(0, ranks_[0]->Do("pingpong 0 " + S(count - 1) + " 200"));
  EXPECT_CODE(0, ranks_[count - 1]->Receive());
}

TEST_P(ShmOnHosts, ADeathEndsWhatAllAreIn) {
  int count = static_cast<int>(GetParam().size());
  if (count == 1) GTEST_SKIP() << "nobody is left to hear it";
  for (const std::string& command : std::vector<std::string>{
           "barrier 0", "gather 0 65536 1", "wait 0 0 1 0", "sub 0 key " + S(count)}) {
    SCOPED_TRACE(command);
    All(ranks_, "barrier 0 10");
    for (int rank = 0; rank + 1 < count; ++rank)
      ranks_[rank]->Send(command + (command.starts_with("sub") ? " " + S(rank) + " 8 1" : ""));
    auto killed = steady_clock::now();
    ranks_.back()->Kill();
    for (int rank = 0; rank + 1 < count; ++rank) {
      Answer answer = ranks_[rank]->Receive();
      EXPECT_EQ(-2014, answer.code) << answer.text;
      EXPECT_THAT(answer.text, HasSubstr("rank " + S(count - 1)));
    }
    EXPECT_LT(steady_clock::now() - killed, seconds(2));
    Start();
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, ShmOnHosts,
                         ::testing::Values(std::vector{0}, std::vector{0, 1}, std::vector{0, 1, 2},
                                           std::vector{0, 0, 1},
                                           std::vector{0, 1, 2, 0, 1, 2, 0, 1}));

}  // namespace
}  // namespace memfabric::cluster
