// Who is taken for whom: users that share a host, hosts that share an identity.

#include "cluster/host_ranks.h"

namespace memfabric::cluster {
namespace {

using netns::Wiring;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Environment = std::map<std::string, std::string>;

constexpr seconds kAtOnce{10};  // of an operation_timeout of 30
const std::string kUser = "65534";

// A store that everybody may use, and ranks of two users on one host.
class TwoUsers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root makes processes of others";
    server_ = std::make_unique<RankProcess>(Environment{{"MEMFABRIC_ALLOW_UIDS", kUser}});
    ASSERT_CODE(0, server_->Do("serve " + url_));
  }
  // Root's is rank 0.
  void Start(const Environment& environment) {
    for (int rank : {0, 1}) {
      ranks_.push_back(std::make_unique<RankProcess>(environment));
      if (rank == 1) ASSERT_CODE(0, ranks_[rank]->Do("become " + kUser));
      ASSERT_CODE(
          0, ranks_[rank]->Do("init " + url_ + " 2 " + std::to_string(rank) + " start_store=0"));
      ASSERT_CODE(0, ranks_[rank]->Do("create 0 0x200000 0"));
    }
  }
  void ExpectPath(const std::string& path) {
    EXPECT_EQ(path, ranks_[0]->Do("path 0 1").text);
    EXPECT_EQ(path, ranks_[1]->Do("path 0 0").text);
    EXPECT_CODE(0, ranks_[0]->Do("fill 0 1 host 0 0x200000 1"));
    EXPECT_CODE(0, ranks_[1]->Do("load 0 1 host 0 0x200000 1"));
    EXPECT_CODE(0, ranks_[1]->Do("fill 0 0 host 0 4096 2"));
    EXPECT_CODE(0, ranks_[0]->Do("load 0 0 host 0 4096 2"));
  }

  const std::string url_ = FreeUrl();
  std::unique_ptr<RankProcess> server_;
  std::vector<std::unique_ptr<RankProcess>> ranks_;
};

TEST_F(TwoUsers, OfOneHostGoByTcpWhoeverJoinsFirst) {
  Start({});
  for (auto [first, second] : {std::pair{0, 1}, std::pair{1, 0}}) {
    ASSERT_CODE(0, ranks_[first]->Do("join 0", kAtOnce));
    ASSERT_CODE(0, ranks_[second]->Do("join 0", kAtOnce));
    ExpectPath("tcp");
    EXPECT_EQ(-2015, ranks_[0]->Do("view 0 1 host").code);
    All(ranks_, "leave 0");
  }
}

TEST_F(TwoUsers, WhoseDeathIsSeenAtOnce) {
  Start({});
  All(ranks_, "join 0");
  ranks_[1]->Kill();
  EXPECT_EQ(0, ranks_[0]->Do("try_fill 0 1 host 5 -2014").code);
  auto again = std::make_unique<RankProcess>();
  ASSERT_CODE(0, again->Do("become " + kUser));
  ASSERT_CODE(0, again->Do("init " + url_ + " 2 1 start_store=0", kAtOnce));
  ASSERT_CODE(0, again->Do("create 0 0x200000 0"));
  ASSERT_CODE(0, again->Do("join 0", kAtOnce));
  EXPECT_EQ("tcp", ranks_[0]->Do("path 0 1").text);
}

TEST_F(TwoUsers, ThatLetEachOtherInAreMapped) {
  Start({{"MEMFABRIC_ALLOW_UIDS", kUser}});
  All(ranks_, "join 0");
  ExpectPath("mapped");
}

TEST_F(TwoUsers, AreAnErrorThatNamesBothWhenThePathMustBeTheBest) {
  for (int joins_last : {0, 1}) {
    ranks_.clear();
    Start({{"MEMFABRIC_STRICT", "1"}});
    ASSERT_CODE(0, ranks_[1 - joins_last]->Do("join 0", kAtOnce));
    Answer refused = ranks_[joins_last]->Do("join 0", kAtOnce);
    EXPECT_EQ(-2015, refused.code) << refused.text;
    EXPECT_THAT(refused.text,
                AllOf(HasSubstr("user 0"), HasSubstr("user " + kUser),
                      HasSubstr("MEMFABRIC_ALLOW_UIDS"), HasSubstr("MEMFABRIC_STRICT")));
  }
}

TEST_F(TwoUsers, EnginesGoByTcp) {
  std::vector<std::string> addresses;
  for (int i : {0, 1}) {
    ranks_.push_back(std::make_unique<RankProcess>());
    if (i == 1) ASSERT_CODE(0, ranks_[i]->Do("become " + kUser));
    ASSERT_CODE(0, ranks_[i]->Do("engine e" + std::to_string(i) + " " + url_));
    addresses.push_back(ranks_[i]->Do("buffer 0 0x100000 " + std::to_string(i)).text);
    ASSERT_CODE(0, ranks_[i]->Do("engine_register e" + std::to_string(i) + " 0"));
    ASSERT_CODE(0, ranks_[i]->Do("buffer 1 0x100000 9"));
  }
  for (auto [from, to] : {std::pair{0, 1}, std::pair{1, 0}}) {
    const std::string own = "e" + std::to_string(from), other = "e" + std::to_string(to);
    EXPECT_CODE(0, ranks_[from]->Do(
                       "engine_read " + own + " 1 0 " + other + " " + addresses[to] + " 0x100000",
                       kAtOnce));
    EXPECT_EQ("tcp", ranks_[from]->Do("engine_path " + own + " " + other).text);
    EXPECT_CODE(0, ranks_[from]->Do("buffer_check 1 0 0x100000 " + std::to_string(to)));
  }
}

// Two hosts of one identity: cloned machines, or a MEMFABRIC_HOST_ID that was copied.
const Environment kClone{{"MEMFABRIC_HOST_ID", "clone"}};

TEST(EqualHostIds, GoByTcp) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 0, 1, 1}, 4, kClone);
  for (int from = 0; from < 4; ++from)
    for (int to = 0; to < 4; ++to)
      EXPECT_EQ(from / 2 == to / 2 ? "mapped" : "tcp",
                job[from].Do("path 0 " + std::to_string(to)).text)
          << from << to;
  EXPECT_CODE(0, job[0].Do("fill 0 3 host 0 0x200000 1"));
  EXPECT_CODE(0, job[3].Do("load 0 3 host 0 0x200000 1"));
  // A member that died is still told from one that is elsewhere.
  job[1].Kill();
  auto again = job.Process(0, kClone);
  ASSERT_CODE(0, again->Do("init " + job.url() + " 4 1", kAtOnce));
  ASSERT_CODE(0, again->Do("create 0 0x2000000 0"));
  ASSERT_CODE(0, again->Do("join 0", kAtOnce));
  EXPECT_EQ("mapped", job[0].Do("path 0 1").text);
  EXPECT_EQ("tcp", job[3].Do("path 0 1").text);
}

TEST(EqualHostIds, KeepNobodysRankFromItsLivingHolder) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1}, 2, kClone);
  // Rank 1's liveness socket is served on host 1 only.
  auto thief = job.Process(0, kClone);
  Answer refused = thief->Do("init " + job.url() + " 2 1");
  EXPECT_EQ(-2006, refused.code);
  EXPECT_THAT(refused.text, HasSubstr(std::to_string(job[1].pid())));
  Answer full = job.Process(0, kClone)->Do("init " + job.url() + " 2 auto");
  EXPECT_EQ(-2009, full.code) << full.text;
  EXPECT_CODE(0, job[0].Do("fill 0 1 host 0 4096 1"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 4096 1"));
}

TEST(EqualHostIds, AreAnErrorWhenThePathMustBeTheBest) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  Environment strict = kClone;
  strict["MEMFABRIC_STRICT"] = "1";
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int rank : {0, 1}) {
    ranks.push_back(job.Process(rank, strict));
    ASSERT_CODE(0, ranks[rank]->Do("init " + job.url() + " 2 " + std::to_string(rank)));
    ASSERT_CODE(0, ranks[rank]->Do("create 0 0x200000 0"));
  }
  ASSERT_CODE(0, ranks[0]->Do("join 0"));
  Answer refused = ranks[1]->Do("join 0", kAtOnce);
  EXPECT_EQ(-2015, refused.code);
  EXPECT_THAT(refused.text, AllOf(HasSubstr("host identity"), HasSubstr("MEMFABRIC_HOST_ID"),
                                  HasSubstr("rank 0")));
}

TEST(EqualHostIds, EnginesGoByTcpAndKeepTheirNames) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  std::vector<std::unique_ptr<RankProcess>> engines;
  std::vector<std::string> addresses;
  for (int i : {0, 1}) {
    engines.push_back(job.Process(i, kClone));
    ASSERT_CODE(0, engines[i]->Do("engine e" + std::to_string(i) + " " + job.url() + " serve=1"));
    addresses.push_back(engines[i]->Do("buffer 0 4096 " + std::to_string(i)).text);
    ASSERT_CODE(0, engines[i]->Do("engine_register e" + std::to_string(i) + " 0"));
    ASSERT_CODE(0, engines[i]->Do("buffer 1 4096 9"));
  }
  EXPECT_CODE(0, engines[0]->Do("engine_read e0 1 0 e1 " + addresses[1] + " 4096", kAtOnce));
  EXPECT_EQ("tcp", engines[0]->Do("engine_path e0 e1").text);
  EXPECT_EQ(-2006, job.Process(0, kClone)->Do("engine e1 " + job.url()).code);
  EXPECT_CODE(0, engines[0]->Do("engine_read e0 1 0 e1 " + addresses[1] + " 4096"));
}

}  // namespace
}  // namespace memfabric::cluster
