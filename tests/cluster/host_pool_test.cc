// What pools across hosts do while everybody is well.

#include <algorithm>

#include "cluster/host_ranks.h"

namespace memfabric::cluster {
namespace {

using netns::Hosts;
using netns::Wiring;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string S(std::uint64_t n) { return std::to_string(n); }

// Rank i is on host placement[i].
class Placed : public ::testing::TestWithParam<std::vector<int>> {};

TEST_P(Placed, EveryRankReachesEveryOtherAndSaysHow) {
  const auto& placement = GetParam();
  int count = static_cast<int>(placement.size());
  HostRanks job(1 + *std::max_element(placement.begin(), placement.end()), Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start(placement, count);
  for (int from = 0; from < count; ++from) {
    for (int to = 0; to < count; ++to) {
      std::string where = " 0 " + S(to) + " host " + S(4096 * from) + " 4096 ";
      std::string seed = S(100 * from + to);
      EXPECT_CODE(0, job[from].Do("fill" + where + seed));
      EXPECT_CODE(0, job[to].Do("load" + where + seed));  // visible to its owner
      EXPECT_CODE(0, job[(from + 1) % count].Do("check" + where + seed));
      bool near = placement[from] == placement[to];
      EXPECT_EQ(near ? "mapped" : "tcp", job[from].Do("path 0 " + S(to)).text);
      Answer va = job[from].Do("va 0 " + S(to) + " host"),
             view = job[from].Do("view 0 " + S(to) + " host");
      EXPECT_EQ(near ? 0 : -2015, va.code) << va.text;
      EXPECT_EQ(near ? 0 : -2015, view.code) << view.text;
      if (near) continue;
      EXPECT_THAT(view.text,
                  AllOf(HasSubstr("rank " + S(to)), HasSubstr("another host"), HasSubstr("tcp")));
    }
  }
  std::string members = job[count - 1].Do("members 0").text;
  EXPECT_EQ(count, 1 + std::count(members.begin(), members.end(), ' ')) << members;
  for (auto& rank : job.ranks()) EXPECT_EQ(0, rank->Finish());
}

INSTANTIATE_TEST_SUITE_P(Ranks, Placed,
                         ::testing::Values(std::vector{0}, std::vector{0, 1}, std::vector{0, 1, 2},
                                           std::vector{0, 0, 1},
                                           std::vector{0, 1, 2, 0, 1, 2, 0, 1}));

TEST(HostPool, LargeCopiesBatchesAndRanksBothRemote) {
  HostRanks job(3, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 0, 1, 2}, 4);
  EXPECT_CODE(0, job[0].Do("fill 0 2 host 0 0x2000000 5"));
  EXPECT_CODE(0, job[2].Do("load 0 2 host 0 0x2000000 5"));
  EXPECT_CODE(0, job[0].Do("g2g 0 2 host 3 0 0x2000000"));  // neither is here
  EXPECT_CODE(0, job[3].Do("load 0 3 host 0 0x2000000 5"));
  EXPECT_CODE(0, job[0].Do("g2g 0 3 host 1 0x1000 0x1000000"));  // from there to a neighbour
  EXPECT_CODE(0, job[2].Do("g2g 0 1 host 2 0x1000 0x1000000"));
  EXPECT_CODE(0, job[2].Do("load 0 2 host 0 0x2000000 5"));
  // 4,000 pieces over a mapped rank and two remote ones, then the same in the background.
  EXPECT_CODE(0, job[0].Do("batch 0 4000 4096 6 1 2 3"));
  EXPECT_CODE(0, job[3].Do("batch_check 0 4000 4096 6 1 2 3"));
  EXPECT_CODE(0, job[0].Do("batch 0 122 131072 7 2 3 flags=1"));
  EXPECT_CODE(0, job[0].Do("wait 0"));
  EXPECT_CODE(0, job[1].Do("batch_check 0 122 131072 7 2 3"));
}

TEST(HostPool, AHeaderIsSeenAfterItsPayload) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 1}, 3);
  for (int reader : {1, 2}) {  // over tcp from rank 0, then mapped from rank 1
    int writer = reader - 1;
    for (const char* bytes : {"64", "0x100000"}) {
      std::string tail = std::string(" ") + bytes + (reader == 1 ? " 50" : " 200");
      EXPECT_CODE(0, job[writer].Do("fill 0 " + S(writer) + " host 0 8 0"));
      EXPECT_CODE(0, job[reader].Do("fill 0 " + S(reader) + " host 0 8 0"));
      job[reader].Send("consume 0 " + S(writer) + tail);
      EXPECT_CODE(0, job[writer].Do("publish 0 " + S(reader) + tail));
      EXPECT_CODE(0, job[reader].Receive());
    }
  }
}

TEST(HostPool, WhatARankAddsIsReachedFromOtherHosts) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  auto ranks = StartRanksIn({job.hosts().Namespace(0), job.hosts().Namespace(1)}, job.url(), 2);
  All(ranks, "create2 0 0x200000 0x800000 0 0");
  All(ranks, "join 0");
  EXPECT_CODE(-2000, ranks[0]->Do("fill 0 1 host 0x200000 4096 1"));
  EXPECT_CODE(0, ranks[1]->Do("extend 0 host 0x200000"));
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0x200000 0x200000 1"));
  EXPECT_CODE(0, ranks[1]->Do("load 0 1 host 0x200000 0x200000 1"));
}

TEST(HostPool, StatsTellPathsApart) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 0, 1}, 3);
  EXPECT_CODE(0, job[0].Do("fill 0 1 host 0 1000 1"));
  EXPECT_CODE(0, job[0].Do("fill 0 2 host 0 3000000 1"));
  EXPECT_CODE(0, job[0].Do("check 0 2 host 0 3000000 1"));
  EXPECT_EQ("1:mapped:1000:1:0:0 2:tcp:6000000:2:0:0", job[0].Do("stats 0").text);
}

TEST(HostPool, HostTcpIsAPathThatThereIs) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  auto ranks = StartRanksIn({job.hosts().Namespace(0), job.hosts().Namespace(1)}, job.url(), 2,
                            {{"MEMFABRIC_STRICT", "1"}});
  for (auto& rank : ranks) {
    EXPECT_CODE(0, rank->Do("create 0 0x200000 0 op=4"));
    EXPECT_CODE(-2015, rank->Do("create 1 0x200000 0 op=2"));  // RDMA
  }
}

TEST(HostPool, DataIsEncryptedWhenAllRanksAskForIt) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 1}, 4, {{"MEMFABRIC_DATA_TLS", "1"}});
  EXPECT_EQ("tcp+tls", job[0].Do("path 0 1").text);
  EXPECT_EQ("mapped", job[1].Do("path 0 2").text);
  EXPECT_CODE(0, job[0].Do("fill 0 1 host 0 0x2000000 5"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 0x2000000 5"));
  EXPECT_CODE(0, job[0].Do("batch 0 122 131072 7 1 2"));
  EXPECT_CODE(0, job[2].Do("batch_check 0 122 131072 7 1 2"));
  // Who says otherwise is told so.
  auto plain = job.Newcomer(1, 3);
  Answer refused = plain->Do("join 0");
  EXPECT_NE(0, refused.code);
  EXPECT_THAT(refused.text, HasSubstr("encrypt"));
  // It takes a store whose traffic can't be read, or a clear word.
  Answer open = job.Process(1)->Do("init " + job.url() + " 4 3 data_tls=1");
  EXPECT_EQ(-2000, open.code);
  EXPECT_THAT(open.text, AllOf(HasSubstr("set_conf_store_tls"), HasSubstr("MEMFABRIC_DATA_TLS")));
}

TEST(HostPool, TheStoreMayHaveAnIPv6Address) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  std::string url = "tcp://[" + Hosts::Address6(0) + "]:8570";
  auto ranks = StartRanksIn({job.hosts().Namespace(0), job.hosts().Namespace(1)}, url, 2);
  All(ranks, "create 0 0x200000 0");
  All(ranks, "join 0");
  EXPECT_EQ("tcp", ranks[0]->Do("path 0 1").text);
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 0x200000 1"));
  EXPECT_CODE(0, ranks[1]->Do("load 0 1 host 0 0x200000 1"));
}

TEST(HostPool, TheNicDecidesWhereTheDataPlaneListens) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  for (int host : {0, 1}) {
    ASSERT_TRUE(
        job.hosts()
            .Run(host, {"ip", "addr", "add", "10.78.0." + S(host + 1) + "/24", "dev", "eth0"})
            .ok());
    // has no address
    ASSERT_TRUE(job.hosts().Run(host, {"ip", "link", "add", "bare0", "type", "bridge"}).ok());
  }
  auto listens = [&](int host, const std::string& address) {
    return job.hosts().Run(host, {"sh", "-c", "ss -Hltn src " + address + " | grep -q ."}).ok();
  };
  int rank = 0;
  for (const auto& [nic, address] : std::vector<std::pair<std::string, std::string>>{
           {"tcp://10.78.0.1:0", "10.78.0.1"},
           {"tcp://10.78.0.77/24:0", "10.78.0.1"},
           {"tcp://10.78.0.1:7001", "10.78.0.1:7003"},  // rank 2's
           {"absent0,tcp://10.78.0.0/24", "10.78.0.1"},
           {"eth0", "10.77.0.1"},
           {"tcp://0.0.0.0:0", "10.77.0.1"},
       }) {
    auto process = job.Process(0);
    ASSERT_CODE(0, process->Do("init " + job.url() + " 8 " + S(rank++) + " nic=" + nic));
    ASSERT_CODE(0, process->Do("create 0 0x200000 0"));
    EXPECT_CODE(0, process->Do("join 0"));
    EXPECT_TRUE(listens(0, address)) << nic;
    if (rank == 1) job.ranks().push_back(std::move(process));  // serves the store
  }
  for (const auto& [nic, words] : std::vector<std::pair<std::string, std::string>>{
           {"absent0", "absent0"},
           {"bare0", "bare0"},
           {"tcp://10.99.0.1:0", "10.99.0.1"},
           {"tcp://10.99.0.0/16:0", "10.99.0.0/16"},
       }) {
    auto process = job.Process(0);
    ASSERT_CODE(0, process->Do("init " + job.url() + " 8 7 nic=" + nic));
    ASSERT_CODE(0, process->Do("create 0 0x200000 0"));
    Answer answer = process->Do("join 0");
    EXPECT_NE(0, answer.code) << nic;
    EXPECT_THAT(answer.text, HasSubstr(words)) << nic;
  }
  Answer beyond = job.Process(0)->Do("init " + job.url() + " 8 7 nic=tcp://10.77.0.1:65529");
  EXPECT_EQ(-2000, beyond.code);
  EXPECT_THAT(beyond.text, AllOf(HasSubstr("65529"), HasSubstr("65528 at most")));
}

TEST(HostPool, OneNicServesAllRanksOfAHostAndAllTheirPools) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int rank : {0, 1, 2, 3}) {
    ranks.push_back(job.Process(rank / 2));
    // The whole net's address, so that it is the same text on all hosts.
    ASSERT_CODE(
        0, ranks[rank]->Do("init " + job.url() + " 4 " + S(rank) + " nic=tcp://10.77.0.0/16:7000"));
  }
  for (const char* pool : {"0", "1"}) {
    All(ranks, std::string("create ") + pool + " 0x200000 0");
    All(ranks, std::string("join ") + pool);
    for (int from : {0, 1, 2, 3})
      for (int to : {0, 1, 2, 3})
        EXPECT_EQ(from / 2 == to / 2 ? "mapped" : "tcp",
                  ranks[from]->Do(std::string("path ") + pool + " " + S(to)).text);
  }
  auto listening = [&](int host, int port) {
    return job.hosts()
        .Run(host, {"sh", "-c", "ss -Hltn src 10.77.0.0/16:" + S(port) + " | grep -q ."})
        .ok();
  };
  for (int host : {0, 1})
    for (int port = 7000; port < 7008; ++port)
      EXPECT_EQ(listening(host, port), port < 7004 && (port - 7000) / 2 == host)
          << host << " " << port;
}

TEST(HostPool, ARankWithoutAPortIsReachedOnItsHostOnlyAndSaysWhy) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  // of the last port but one; those that might be used instead are beyond the last
  auto holder = job.Process(1);
  ASSERT_CODE(0, holder->Do("serve tcp://10.77.0.2:65534"));
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int rank : {0, 1, 2}) {
    ranks.push_back(job.Process(rank == 0 ? 0 : 1));
    ASSERT_CODE(0, ranks[rank]->Do("init " + job.url() + " 3 " + S(rank) +
                                   " nic=tcp://10.77.0.0/16:65533 operation_timeout=20"));
    ASSERT_CODE(0, ranks[rank]->Do("create 0 0x200000 0"));
  }
  ASSERT_CODE(0, ranks[1]->Do("join 0"));
  ASSERT_CODE(0, ranks[2]->Do("join 0"));
  EXPECT_EQ("mapped", ranks[2]->Do("path 0 1").text);
  Answer refused = ranks[0]->Do("join 0", std::chrono::seconds(5));  // at once
  EXPECT_EQ(-2015, refused.code);
  EXPECT_THAT(refused.text,
              AllOf(HasSubstr("rank 1"), HasSubstr("no data port"), HasSubstr("10.77.0.2:65534")));
  // It reaches others itself.
  ASSERT_CODE(0, ranks[1]->Do("leave 0"));
  ASSERT_CODE(0, ranks[0]->Do("join 0"));
  ASSERT_CODE(0, ranks[1]->Do("join 0"));
  EXPECT_EQ("tcp", ranks[0]->Do("path 0 1").text);
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 0x200000 1"));
}

}  // namespace
}  // namespace memfabric::cluster
