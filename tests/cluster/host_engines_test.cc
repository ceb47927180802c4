// TransferEngines on several hosts, which are network namespaces: they meet through a store or
// without one, and outlive each other.

#include <signal.h>

#include "cluster/host_ranks.h"

namespace memfabric::cluster {
namespace {

using netns::Wiring;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;

// The 2 s of docs/contract/python.md §4, and one for a machine that has other things to do
constexpr seconds kDeadWithin{3};

// An engine in a process of its own, with 4 MiB of its user's memory.
struct Node {
  std::unique_ptr<RankProcess> process;
  std::string name;
  std::string address;

  Answer Do(const std::string& command) { return process->Do(command); }
};

class HostEngines : public ::testing::Test {
 protected:
  static constexpr const char* kSize = "0x400000";

  Node Start(HostRanks& job, int host, const std::string& name, const std::string& url, int seed) {
    Node node{job.Process(host), name, ""};
    EXPECT_CODE(0, node.Do("engine " + name + " " + url + " serve=1"));
    node.address = Register(node, seed);
    return node;
  }
  // Stops the process or, on host 2, pulls its cable; or mends that.
  static void Strike(HostRanks& job, Node& node, bool stop, bool strike) {
    if (stop) {
      node.process->Signal(strike ? SIGSTOP : SIGCONT);
    } else {
      ASSERT_TRUE(job.hosts().SetCable(2, !strike).ok());
    }
  }
  static std::string Register(Node& node, int seed) {
    Answer answer = node.Do("buffer 0 " + std::string(kSize) + " " + std::to_string(seed));
    EXPECT_CODE(0, node.Do("engine_register " + node.name + " 0"));
    return answer.text;
  }
};

TEST_F(HostEngines, EverybodyReachesEverybodyOverTcp) {
  for (int count : {1, 2, 3, 8}) {
    HostRanks job(count, Wiring::kKernel);
    SKIP_WITHOUT_HOSTS(job);
    std::vector<Node> nodes;
    for (int i = 0; i < count; ++i)
      nodes.push_back(Start(job, i, "engine" + std::to_string(i), job.url(), i));
    ASSERT_CODE(0, nodes[0].Do("buffer 1 4096 50"));
    for (int i = 0; i < count; ++i) {
      Node& from = nodes[i];
      Node& to = nodes[(i + 1) % count];
      EXPECT_CODE(0, from.Do("buffer 1 " + std::string(kSize) + " " + std::to_string(100 + i)));
      if (count == 1) continue;
      EXPECT_CODE(0, from.Do("engine_read " + from.name + " 1 0 " + to.name + " " + to.address +
                             " " + kSize));
      EXPECT_EQ("tcp", from.Do("engine_path " + from.name + " " + to.name).text);
      EXPECT_CODE(0, from.Do("buffer_check 1 0 " + std::string(kSize) + " " +
                             std::to_string((i + 1) % count)));
    }
    if (count == 1) continue;
    for (int i = 0; i < count; ++i) {
      Node& from = nodes[i];
      Node& to = nodes[(i + 1) % count];
      EXPECT_CODE(0, from.Do("buffer 1 " + std::string(kSize) + " " + std::to_string(100 + i)));
      EXPECT_CODE(0, from.Do("engine_batch " + from.name + " 1 " + to.name + " " + to.address +
                             " 4096 1024"));
      EXPECT_CODE(0, to.Do("engine_batch_check 0 " + std::to_string(100 + i) + " 4096 1024"));
    }
    EXPECT_EQ("", nodes[0].Do("engine_down").text);
  }
}

TEST_F(HostEngines, OneNicServesAllOfThem) {
  HostRanks job(1, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  const std::string nic = " nic=tcp://" + netns::Hosts::Address(0) + ":7300";
  auto process = job.Process(0), other = job.Process(0);
  EXPECT_CODE(0, process->Do("engine one " + job.url() + " serve=1" + nic));
  EXPECT_CODE(0, process->Do("engine two " + job.url() + nic));
  EXPECT_CODE(0, other->Do("engine three " + job.url() + nic));
  // One for each process, not for each engine.
  for (auto [port, listens] : {std::pair{"7300", true}, {"7301", true}, {"7302", false}})
    EXPECT_EQ(job.hosts()
                  .Run(0, {"sh", "-c", std::string("ss -Hltn sport = ") + port + " | grep -q ."})
                  .ok(),
              listens)
        << port;
  Answer refused = other->Do("engine four " + job.url() + " nic=tcp://10.77.0.1:70000");
  EXPECT_EQ(-2000, refused.code);
  EXPECT_THAT(refused.text, HasSubstr("70000"));
}

TEST_F(HostEngines, TwoNeedNoStoreToMeet) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  const std::string names[] = {netns::Hosts::Address(0) + ":7301",
                               netns::Hosts::Address(1) + ":7302"};
  Node one = Start(job, 0, names[0], "tcp://" + names[0], 1);
  Node two = Start(job, 1, names[1], "tcp://" + names[1], 2);
  for (auto [from, to] : {std::pair{&one, &two}, std::pair{&two, &one}}) {
    EXPECT_CODE(0, from->Do("buffer 1 4096 9"));
    EXPECT_CODE(0, from->Do("engine_write " + from->name + " 1 0 " + to->name + " " + to->address +
                            " 4096"));
    EXPECT_CODE(0, to->Do("buffer_check 0 0 4096 9"));
  }
}

// 4 MiB at 1 MiB/s, with a time-out of 2 s.
TEST_F(HostEngines, ATransferThatTakesLongIsNotLate) {
  HostRanks job(2, Wiring::kWire);
  SKIP_WITHOUT_HOSTS(job);
  Node from{job.Process(0), "from", ""};
  ASSERT_CODE(0, from.Do("engine from " + job.url() + " serve=1 timeout=2"));
  Node to = Start(job, 1, "to", job.url(), 2);
  ASSERT_CODE(0, from.Do("buffer 0 " + std::string(kSize) + " 1"));
  ASSERT_CODE(0, from.Do("engine_write from 0 0 to " + to.address + " 4096"));
  job.hosts().wire().Treat({.bytes_per_second = 1 << 20});
  const auto begin = steady_clock::now();
  EXPECT_CODE(0, from.Do("engine_write from 0 0 to " + to.address + " " + kSize));
  EXPECT_GT(steady_clock::now() - begin, seconds(2));
  EXPECT_CODE(0, to.Do("buffer_check 0 0 " + std::string(kSize) + " 1"));
}

TEST_F(HostEngines, OneThatIsKilledInMidPayloadIsNamedAndComesBack) {
  HostRanks job(3, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  Node store = Start(job, 0, "store", job.url(), 0);
  Node from = Start(job, 1, "from", job.url(), 1);
  Node to = Start(job, 2, "to", job.url(), 2);
  const std::string old_address = to.address;
  EXPECT_CODE(0, from.Do("engine_write from 0 0 to " + to.address + " " + kSize));
  from.process->Send("engine_flood from 0 to " + to.address + " " + kSize);
  EXPECT_CODE(0, store.Do("engine_write store 0 0 to " + to.address + " 4096"));
  const auto struck = steady_clock::now();
  to.process->Kill();
  Answer ended = from.process->Receive();
  EXPECT_LT(steady_clock::now() - struck, kDeadWithin);
  EXPECT_EQ(-2014, ended.code) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("'to'"));
  // others are as they were
  EXPECT_CODE(0, from.Do("engine_write from 0 0 store " + store.address + " 4096"));
  EXPECT_CODE(0, store.Do("buffer_check 0 0 4096 1"));

  to = Start(job, 2, "to", job.url(), 3);
  EXPECT_CODE(0, from.Do("engine_until from 0 to " + to.address + " 4096 20"));
  EXPECT_CODE(0, to.Do("buffer_check 0 0 4096 1"));
  if (to.address != old_address) {
    EXPECT_CODE(-2000, from.Do("engine_write from 0 0 to " + old_address + " 4096"));
  }
  EXPECT_EQ("to", from.Do("engine_down").text);
}

TEST_F(HostEngines, AConnectionThatIsResetIsNoDeath) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  Node one = Start(job, 0, "one", job.url(), 1);
  Node two = Start(job, 1, "two", job.url(), 2);
  EXPECT_CODE(0, one.Do("engine_write one 0 0 two " + two.address + " " + kSize));
  one.process->Send("engine_flood one 0 two " + two.address + " " + kSize);
  // All but the store's connections.
  Status reset = job.hosts().Run(1, {"ss", "-K", "( sport != :8570 and dport != :8570 )"});
  ASSERT_TRUE(reset.ok()) << reset.message();
  EXPECT_EQ(-2014, one.process->Receive().code);
  EXPECT_CODE(0, one.Do("engine_until one 0 two " + two.address + " 4096 20"));
  EXPECT_CODE(0, two.Do("buffer_check 0 0 4096 1"));
  EXPECT_EQ("", one.Do("engine_down").text);
  EXPECT_EQ("", two.Do("engine_down").text);
}

TEST_F(HostEngines, OneThatIsStoppedOrCutOffIsGivenUpInTimeAndReachedAgain) {
  for (bool stop : {true, false}) {
    HostRanks job(3, Wiring::kKernel);
    SKIP_WITHOUT_HOSTS(job);
    Node store = Start(job, 0, "store", job.url(), 0);
    Node from = Start(job, 1, "from", job.url(), 1);
    Node to = Start(job, 2, "to", job.url(), 2);
    EXPECT_CODE(0, from.Do("engine_write from 0 0 to " + to.address + " " + kSize));
    from.process->Send("engine_flood from 0 to " + to.address + " " + kSize);
    EXPECT_CODE(0, store.Do("engine_write store 0 0 to " + to.address + " 4096"));
    const auto struck = steady_clock::now();
    Strike(job, to, stop, true);
    Answer ended = from.process->Receive();
    EXPECT_LT(steady_clock::now() - struck, seconds(6));
    EXPECT_EQ(-2014, ended.code) << ended.text;
    EXPECT_THAT(ended.text, HasSubstr("'to'"));
    EXPECT_CODE(0, from.Do("engine_write from 0 0 store " + store.address + " 4096"));
    Strike(job, to, stop, false);
    EXPECT_CODE(0, from.Do("engine_until from 0 to " + to.address + " 4096 30"));
    EXPECT_CODE(0, to.Do("buffer_check 0 0 4096 1"));
  }
}

TEST_F(HostEngines, WhatIsUnregisteredIsOutOfReach) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  Node one = Start(job, 0, "one", job.url(), 1);
  Node two = Start(job, 1, "two", job.url(), 2);
  EXPECT_CODE(0, one.Do("engine_write one 0 0 two " + two.address + " " + kSize));
  one.process->Send("engine_flood one 0 two " + two.address + " " + kSize);
  EXPECT_CODE(0, two.Do("engine_unregister two 0"));
  Answer ended = one.process->Receive();
  EXPECT_EQ(-2000, ended.code) << ended.text;
  EXPECT_CODE(0, two.Do("engine_register two 0"));
  EXPECT_CODE(0, one.Do("engine_write one 0 0 two " + two.address + " " + kSize));
  EXPECT_CODE(0, two.Do("buffer_check 0 0 " + std::string(kSize) + " 1"));
  EXPECT_EQ("", one.Do("engine_down").text);
}

}  // namespace
}  // namespace memfabric::cluster
