// Objects whose ranks are of several users on one host, or on hosts that share an identity: what
// can't be mapped goes by tcp, and everybody agrees on how a barrier runs.

#include "shm/shm_ranks.h"
#include "support/netns/hosts.h"

namespace memfabric::cluster {
namespace {

using netns::Hosts;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Environment = std::map<std::string, std::string>;

constexpr unsigned kRoot = 0, kOne = 65534, kOther = 65533;
const std::string kBoth = S(kOne) + "," + S(kOther);

struct Member {
  unsigned user = kRoot;
  Environment environment{};
};

class ShmUsers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root makes processes of others";
    server_ = std::make_unique<RankProcess>(Environment{{"MEMFABRIC_ALLOW_UIDS", kBoth}});
    ASSERT_CODE(0, server_->Do("serve " + url_));
  }
  void Start(const std::vector<Member>& members) {
    for (const Member& member : members) {
      ranks_.push_back(std::make_unique<RankProcess>(member.environment));
      if (member.user != kRoot) ASSERT_CODE(0, ranks_.back()->Do("become " + S(member.user)));
    }
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank)
      ranks_[rank]->Send("init " + url_ + " " + S(ranks_.size()) + " " + S(rank) +
                         " start_store=0");
    for (auto& rank : ranks_) ASSERT_CODE(0, rank->Receive());
  }
  void Use() {
    All(ranks_, "barrier 0 50");
    for (const char* size : {"1", "48", "65536"})
      All(ranks_, std::string("gather 0 ") + size + " 3 5");
    All(ranks_, "adds 0 0 8 100");
    EXPECT_EQ(S(100 * ranks_.size()), ranks_.back()->Do("atomic fetch 0 0 8 0").text);
  }
  std::string Path(int from, int to) { return ranks_[from]->Do("path 0 " + S(to)).text; }

  const std::string url_ = FreeUrl();
  std::unique_ptr<RankProcess> server_;
  Ranks ranks_;
};

TEST_F(ShmUsers, GoByTcp) {
  Start({{kRoot}, {kOne}, {kOne}, {kRoot}});
  CreateAll(ranks_);
  for (auto [from, to] : {std::pair{0, 3}, std::pair{3, 0}, std::pair{1, 2}, std::pair{2, 1}})
    EXPECT_EQ("mapped", Path(from, to));
  for (int root : {0, 3}) {
    for (int user : {1, 2}) {
      EXPECT_EQ("tcp", Path(root, user));
      EXPECT_EQ("tcp", Path(user, root));
    }
  }
  Use();
}

TEST_F(ShmUsers, AreMappedWhenTheyLetEachOtherIn) {
  Start({{kRoot, {{"MEMFABRIC_ALLOW_UIDS", kBoth}}}, {kOne, {{"MEMFABRIC_ALLOW_UIDS", kBoth}}}});
  CreateAll(ranks_);
  EXPECT_EQ("mapped", Path(0, 1));
  EXPECT_EQ("mapped", Path(1, 0));
  Use();
}

TEST_F(ShmUsers, AgreeWhereOnlySomeOfThemAreMapped) {
  Start({{kRoot, {{"MEMFABRIC_ALLOW_UIDS", kBoth}}}, {kOne}, {kOther}});
  CreateAll(ranks_);
  EXPECT_EQ("mapped", Path(0, 1));
  EXPECT_EQ("mapped", Path(2, 0));
  EXPECT_EQ("tcp", Path(1, 2));
  EXPECT_EQ("tcp", Path(2, 1));
  Use();
}

TEST_F(ShmUsers, AreAnErrorWhenThePathMustBeTheBest) {
  const Environment strict{{"MEMFABRIC_STRICT", "1"}};
  Start({{kRoot, strict}, {kOne, strict}});
  for (int rank : {0, 1}) ranks_[rank]->Send(Creating(0, 2, rank) + " op=2");
  for (int rank : {0, 1}) {
    Answer answer = ranks_[rank]->Receive();
    EXPECT_EQ(-2015, answer.code);
    EXPECT_THAT(answer.text, AllOf(HasSubstr("user 0"), HasSubstr("user " + S(kOne)),
                                   HasSubstr("MEMFABRIC_STRICT")));
  }
}

TEST(ShmEqualHostIds, GoByTcp) {
  auto hosts = Hosts::Make(2, netns::Wiring::kKernel);
  if (!hosts.ok()) GTEST_SKIP() << hosts.status().message();
  const std::vector<int> networks{(*hosts)->Namespace(0), (*hosts)->Namespace(1),
                                  (*hosts)->Namespace(1)};
  auto ranks = StartRanksIn(networks, Hosts::StoreUrl(), 3, {{"MEMFABRIC_HOST_ID", "clone"}});
  CreateAll(ranks);
  EXPECT_EQ("tcp", ranks[0]->Do("path 0 1").text);
  EXPECT_EQ("tcp", ranks[2]->Do("path 0 0").text);
  EXPECT_EQ("mapped", ranks[1]->Do("path 0 2").text);
  All(ranks, "barrier 0 50");
  All(ranks, "gather 0 4096 3 5");
}

}  // namespace
}  // namespace memfabric::cluster
