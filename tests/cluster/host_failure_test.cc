// What happens to pools across hosts when a process, an interface, a cable or a connection fails.
// docs/failure.md has the table.

#include <signal.h>

#include "cluster/host_ranks.h"

namespace memfabric::cluster {
namespace {

using netns::Treatment;
using netns::Wiring;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string S(std::uint64_t n) { return std::to_string(n); }

// The bounds of docs/contract/python.md §2, and a second for a machine that has other things to do.
constexpr seconds kDeadWithin{3}, kCutWithin{6};

// What befalls rank 2, alone on host 2; ranks 0 and 1 are on hosts of their own.
struct Failure {
  const char* name;
  Wiring wiring;
  void (*strike)(HostRanks&);
  void (*mend)(HostRanks&);  // null: there is nothing left to mend
  seconds bound;
};

const Failure kFailures[] = {
    {"Killed", Wiring::kKernel, [](HostRanks& job) { job[2].Kill(); }, nullptr, kDeadWithin},
    {"Stopped", Wiring::kKernel, [](HostRanks& job) { job[2].Signal(SIGSTOP); },
     [](HostRanks& job) { job[2].Signal(SIGCONT); }, kCutWithin},
    {"InterfaceDown", Wiring::kKernel,
     [](HostRanks& job) { ASSERT_TRUE(job.hosts().SetInterface(2, false).ok()); },
     [](HostRanks& job) { ASSERT_TRUE(job.hosts().SetInterface(2, true).ok()); }, kCutWithin},
    {"CablePulled", Wiring::kKernel,
     [](HostRanks& job) { ASSERT_TRUE(job.hosts().SetCable(2, false).ok()); },
     [](HostRanks& job) { ASSERT_TRUE(job.hosts().SetCable(2, true).ok()); }, kCutWithin},
    {"CutFromOneRankOnly", Wiring::kWire, [](HostRanks& job) { job.hosts().wire().Cut(1, 2); },
     [](HostRanks& job) { job.hosts().wire().Heal(); }, kCutWithin},
};

class Struck : public ::testing::TestWithParam<Failure> {
 protected:
  // The rank that copies to rank 2; rank 0 has the store, so that a cut from it alone would be
  // another failure.
  static constexpr int kFrom = 1;
};

// Copies, batches and asynchronous copies to rank 2 end within the bound and name it; others go on;
// afterwards it is reached again.
TEST_P(Struck, CopiesEndInTimeOthersGoOnAndItComesBack) {
  const Failure& failure = GetParam();
  HostRanks job(3, failure.wiring);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 2}, 4);
  RankProcess& from = job[kFrom];
  ASSERT_CODE(0, from.Do("loop 1 0 2 host 0x1000000"));  // in mid-payload, most of the time
  ASSERT_CODE(0, from.Do("loop 2 0 2 host 64"));
  ASSERT_CODE(0, from.Do("loop 3 0 0 host 0x100000"));  // to somebody else
  std::string before = from.Do("loop_count 3").text;

  auto struck = steady_clock::now();
  failure.strike(job);
  for (const char* loop : {"1", "2"}) {
    Answer ended = from.Do(std::string("loop_wait ") + loop);
    EXPECT_EQ(-2014, ended.code) << ended.text;
    EXPECT_THAT(ended.text, HasSubstr("rank 2"));
  }
  EXPECT_LT(steady_clock::now() - struck, failure.bound);
  Answer between = from.Do("loop_stop 3");
  EXPECT_CODE(0, between);
  EXPECT_GT(std::stoull(between.text), std::stoull(before));

  // From now on it is known: at once.
  auto asked = steady_clock::now();
  EXPECT_CODE(-2014, from.Do("batch 0 64 4096 7 0 2"));
  EXPECT_CODE(0, from.Do("fill 0 0 host 0 4096 1"));
  EXPECT_CODE(-2014, from.Do("fill 0 2 host 0 4096 1 flags=1"));
  EXPECT_LT(steady_clock::now() - asked, seconds(2));

  if (failure.mend != nullptr) {
    failure.mend(job);
  } else {
    job.ranks()[2] = job.Newcomer(2, 2);
    ASSERT_CODE(0, job[2].Do("join 0"));
  }
  EXPECT_CODE(0, from.Do("try_fill 0 2 host 30 0"));
  EXPECT_CODE(0, job[2].Do("try_fill 0 " + S(kFrom) + " host 30 0"));
  EXPECT_CODE(0, from.Do("fill 0 2 host 0 0x2000000 9"));
  EXPECT_CODE(0, job[2].Do("load 0 2 host 0 0x2000000 9"));
}

TEST_P(Struck, AnAsynchronousCopyAndABatchUnderWayEndInTime) {
  const Failure& failure = GetParam();
  HostRanks job(3, failure.wiring);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 2}, 4);
  // Many, so that some are under way at the blow.
  for (int i = 0; i < 16; ++i) ASSERT_CODE(0, job[kFrom].Do("batch 0 122 131072 7 2 flags=1"));
  auto struck = steady_clock::now();
  failure.strike(job);
  Answer waited = job[kFrom].Do("wait 0");
  // what was done before took its time as well
  EXPECT_LT(steady_clock::now() - struck, failure.bound + seconds(2));
  EXPECT_TRUE(waited.code == -2014 || waited.code == 0) << waited.code << waited.text;
  EXPECT_CODE(0, job[kFrom].Do("try_fill 0 2 host 6 -2014"));
  if (failure.mend != nullptr) failure.mend(job);
}

TEST(HostFailure, APeerThatTakesNothingDelaysNoAsynchronousCopyToOthers) {
  HostRanks job(3, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 2}, 3);
  job[2].Signal(SIGSTOP);
  auto stopped = steady_clock::now();
  // more than sockets hold
  for (int i = 0; i < 4; ++i) ASSERT_CODE(0, job[1].Do("batch 0 122 131072 7 2 flags=1"));
  ASSERT_CODE(0, job[1].Do("batch 0 64 65536 8 0 flags=1"));
  while (job[0].Do("batch_check 0 64 65536 8 0").code != 0)
    ASSERT_LT(steady_clock::now() - stopped, seconds(20));
  // before rank 2 is given up, after 1.9 s at the earliest
  EXPECT_LT(steady_clock::now() - stopped, milliseconds(1500));
  EXPECT_CODE(-2014, job[1].Do("wait 0"));
  job[2].Signal(SIGCONT);
}

TEST_P(Struck, JoinAndLeaveDoNotHang) {
  const Failure& failure = GetParam();
  HostRanks job(3, failure.wiring);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 2}, 5);
  auto newcomer = job.Newcomer(0, 3);
  ASSERT_CODE(0, newcomer->Do("join 0"));  // its links are there before
  auto late = job.Newcomer(0, 4);
  failure.strike(job);
  auto began = steady_clock::now();
  EXPECT_CODE(0, late->Do("join 0"));  // reaches everybody but one that is gone
  EXPECT_CODE(0, newcomer->Do("leave 0"));
  EXPECT_LT(steady_clock::now() - began, seconds(9));
  EXPECT_CODE(0, late->Do("fill 0 1 host 0 4096 1"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 4096 1"));
  if (failure.mend != nullptr) failure.mend(job);
}

INSTANTIATE_TEST_SUITE_P(Rank, Struck, ::testing::ValuesIn(kFailures),
                         [](const auto& info) { return info.param.name; });

// Eight hosts with a rank each, all copying to rank 2 and to their neighbours.
class StruckAmongEight : public Struck {};

TEST_P(StruckAmongEight, EverybodysCopiesToItEndAndNoOthers) {
  constexpr int kHosts = 8, kStruck = 2;
  const Failure& failure = GetParam();
  HostRanks job(kHosts, failure.wiring);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 2, 3, 4, 5, 6, 7}, kHosts);
  auto next = [](int rank) {
    return (rank + 1) % kHosts == kStruck ? kStruck + 1 : (rank + 1) % kHosts;
  };
  std::vector<int> others;
  for (int rank = 0; rank < kHosts; ++rank)
    if (rank != kStruck) others.push_back(rank);
  for (int rank : others) {
    ASSERT_CODE(0, job[rank].Do("loop 1 0 " + S(kStruck) + " host 0x10000"));
    ASSERT_CODE(0, job[rank].Do("loop 2 0 " + S(next(rank)) + " host 0x10000"));
  }
  auto struck = steady_clock::now();
  failure.strike(job);
  for (int rank : others) job[rank].Send("loop_wait 1");
  for (int rank : others) {
    Answer ended = job[rank].Receive();
    EXPECT_EQ(-2014, ended.code) << ended.text;
    EXPECT_THAT(ended.text, HasSubstr("rank " + S(kStruck)));
  }
  EXPECT_LT(steady_clock::now() - struck, failure.bound);
  for (int rank : others) EXPECT_CODE(0, job[rank].Do("loop_stop 2"));
  if (failure.mend != nullptr) {
    failure.mend(job);
  } else {
    job.ranks()[kStruck] = job.Newcomer(kStruck, kStruck);
    ASSERT_CODE(0, job[kStruck].Do("join 0"));
  }
  for (int rank : others) {
    EXPECT_CODE(0, job[rank].Do("try_fill 0 " + S(kStruck) + " host 30 0"));
    EXPECT_CODE(0, job[kStruck].Do("try_fill 0 " + S(rank) + " host 30 0"));
  }
}

INSTANTIATE_TEST_SUITE_P(Rank, StruckAmongEight, ::testing::ValuesIn(kFailures, kFailures + 4),
                         [](const auto& info) { return info.param.name; });

TEST(HostFailure, AConnectionThatIsResetInMidPayloadIsMadeAgain) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1}, 2);
  ASSERT_CODE(0, job[0].Do("watch 0"));
  ASSERT_CODE(0, job[0].Do("loop 1 0 1 host 0x2000000"));
  // All but the store's connections.
  Status reset = job.hosts().Run(1, {"ss", "-K", "( sport != :8570 and dport != :8570 )"});
  ASSERT_TRUE(reset.ok()) << reset.message();
  Answer ended = job[0].Do("loop_wait 1");
  EXPECT_EQ(-2014, ended.code) << ended.text;
  EXPECT_CODE(0, job[0].Do("try_fill 0 1 host 20 0"));
  EXPECT_EQ("-1 +1", job[0].Do("events 2 20").text);
  EXPECT_CODE(0, job[0].Do("fill 0 1 host 0 0x2000000 3"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 0x2000000 3"));
  EXPECT_CODE(0, job[1].Do("fill 0 0 host 0 0x2000000 4"));
  EXPECT_CODE(0, job[0].Do("load 0 0 host 0 0x2000000 4"));
}

// A refusal that comes from the network proves nothing about the peer: a join that can't reach a
// member that lives fails.
TEST(HostFailure, AMemberThatRefusesConnectionsIsNotTakenForDead) {
  HostRanks job(4, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 2}, 4);
  auto late = job.Process(3);
  ASSERT_CODE(0, late->Do("init " + job.url() + " 4 3 operation_timeout=4"));
  ASSERT_CODE(0, late->Do("create 0 0x2000000 0"));
  // Connections from there to rank 2 are refused at once, as by a firewall; and none come back.
  ASSERT_TRUE(job.hosts().Run(3, {"ip", "route", "add", "unreachable", "10.77.0.3/32"}).ok());
  Answer refused = late->Do("join 0");
  EXPECT_EQ(-2004, refused.code) << refused.text;
  EXPECT_THAT(refused.text,
              AllOf(HasSubstr("no link to rank(s) 2"), HasSubstr("No route to host")));
  ASSERT_TRUE(job.hosts().Run(3, {"ip", "route", "del", "unreachable", "10.77.0.3/32"}).ok());
  EXPECT_CODE(0, late->Do("join 0"));
  for (int rank : {0, 1, 2}) EXPECT_CODE(0, late->Do("fill 0 " + S(rank) + " host 0 4096 1"));
  EXPECT_CODE(0, job[2].Do("fill 0 3 host 0 4096 1"));
}

// Connecting needs descriptors at both ends; who has none says so, and what stands goes on.
TEST(HostFailure, WithoutDescriptorsJoinsFailAndLinksStay) {
  HostRanks job(3, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1}, 3);
  auto late = job.Process(2);
  ASSERT_CODE(0, late->Do("init " + job.url() + " 3 2 operation_timeout=3"));
  ASSERT_CODE(0, late->Do("create 0 0x2000000 0"));
  // The newcomer has none.
  ASSERT_CODE(0, late->Do("limit nofile lowest"));
  Answer none = late->Do("join 0");
  EXPECT_NE(0, none.code);
  EXPECT_THAT(none.text, HasSubstr("ulimit -n"));
  EXPECT_CODE(0, late->Do("limit nofile 1024"));
  // A member has none: the newcomer waits for it. The others and the links that stand feel nothing.
  ASSERT_CODE(0, job[1].Do("limit nofile lowest"));
  Answer waited = late->Do("join 0");
  EXPECT_EQ(-2004, waited.code) << waited.text;
  EXPECT_THAT(waited.text, HasSubstr("rank(s) 1"));
  EXPECT_THAT(waited.text, HasSubstr("RLIMIT_NOFILE of pid")) << "which process lacks what";
  EXPECT_CODE(0, job[0].Do("fill 0 1 host 0 0x100000 1"));
  EXPECT_CODE(0, job[1].Do("fill 0 0 host 0 0x100000 1"));
  EXPECT_CODE(0, job[1].Do("limit nofile 1024"));
  EXPECT_CODE(0, late->Do("join 0"));
  EXPECT_CODE(0, late->Do("fill 0 1 host 0 0x100000 2"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 0x100000 2"));
}

// Cut from each other for longer than any bound, then healed, several times over: the link is made
// again each time, and what was given up stays failed.
TEST(HostFailure, GivenUpThenLinkedAgain) {
  HostRanks job(3, Wiring::kWire);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 2}, 3);
  ASSERT_CODE(0, job[1].Do("watch 0"));
  std::string events;
  for (int round = 0; round < 2; ++round) {
    ASSERT_CODE(0, job[1].Do("fill 0 2 host 0 4096 " + S(10 + round)));
    job.hosts().wire().Cut(1, 2);
    Answer cut = job[1].Do("fill 0 2 host 0 0x1000000 " + S(20 + round));
    EXPECT_EQ(-2014, cut.code) << cut.text;
    EXPECT_CODE(-2014, job[1].Do("fill 0 2 host 0 4096 " + S(30 + round)));
    job.hosts().wire().Heal();
    EXPECT_CODE(0, job[1].Do("try_fill 0 2 host 20 0"));
    events += round == 0 ? "-2 +2" : " -2 +2";
    EXPECT_EQ(events, job[1].Do("events " + S(2 * round + 2) + " 20").text);
    // The former connection is closed for good: nothing of what was given up comes after this.
    EXPECT_CODE(0, job[1].Do("fill 0 2 host 0 0x1000000 " + S(40 + round)));
    EXPECT_CODE(0, job[2].Do("fill 0 1 host 0 0x1000000 " + S(50 + round)));
    EXPECT_CODE(0, job[2].Do("load 0 2 host 0 0x1000000 " + S(40 + round)));
    EXPECT_CODE(0, job[1].Do("load 0 1 host 0 0x1000000 " + S(50 + round)));
    EXPECT_THAT(job[1].Do("stats 0").text, HasSubstr("2:tcp:"));
  }
}

// 4 MiB at 1 MiB/s, with a time-out of 2 s.
TEST(HostSlow, ACopyThatTakesLongIsNotLate) {
  HostRanks job(2, Wiring::kWire);
  SKIP_WITHOUT_HOSTS(job);
  auto store = job.Process(0);
  auto from = job.Process(1);
  ASSERT_CODE(0, store->Do("init " + job.url() + " 2 0"));
  ASSERT_CODE(0, from->Do("init " + job.url() + " 2 1 operation_timeout=2"));
  for (auto* rank : {store.get(), from.get()}) {
    ASSERT_CODE(0, rank->Do("create 0 0x2000000 0"));
    ASSERT_CODE(0, rank->Do("join 0"));
  }
  job.hosts().wire().Treat({.bytes_per_second = 1 << 20});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_CODE(0, from->Do("fill 0 0 host 0 0x400000 1"));
  EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  EXPECT_CODE(0, store->Do("load 0 0 host 0 0x400000 1"));
  EXPECT_CODE(0, from->Do("fill 0 0 host 0 0x400000 2 flags=1"));
  EXPECT_CODE(0, from->Do("wait 0"));
  EXPECT_CODE(0, store->Do("load 0 0 host 0 0x400000 2"));
}

// A network that is bad and not broken: everything works, later.
struct Weather {
  const char* name;
  Treatment treatment;
};
class BadWeather : public ::testing::TestWithParam<Weather> {};

TEST_P(BadWeather, EverythingArrives) {
  HostRanks job(3, Wiring::kWire);
  SKIP_WITHOUT_HOSTS(job);
  job.hosts().wire().Treat(GetParam().treatment);
  job.Start({0, 1, 2}, 3);
  ASSERT_CODE(0, job[0].Do("watch 0"));
  EXPECT_CODE(0, job[0].Do("fill 0 1 host 0 0x100000 1"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 0x100000 1"));
  EXPECT_CODE(0, job[1].Do("batch 0 64 16384 2 0 2"));
  EXPECT_CODE(0, job[2].Do("batch_check 0 64 16384 2 0 2"));
  EXPECT_CODE(0, job[2].Do("fill 0 1 host 0 0x40000 3 flags=1"));
  EXPECT_CODE(0, job[2].Do("wait 0"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 0x40000 3"));
  EXPECT_CODE(0, job[0].Do("fill 0 0 host 0 8 0"));
  EXPECT_CODE(0, job[1].Do("fill 0 1 host 0 8 0"));
  job[1].Send("consume 0 0 4096 10");
  EXPECT_CODE(0, job[0].Do("publish 0 1 4096 10"));  // never out of order
  EXPECT_CODE(0, job[1].Receive());
  EXPECT_EQ("", job[0].Do("events 1 0").text);  // nobody was given up
  EXPECT_CODE(0, job[2].Do("leave 0"));
  EXPECT_CODE(0, job[2].Do("join 0"));
  EXPECT_CODE(0, job[0].Do("fill 0 2 host 0 4096 3"));
}

INSTANTIATE_TEST_SUITE_P(
    Network, BadWeather,
    ::testing::Values(Weather{"Loses", {.lost = 0.01}},
                      Weather{"Delays", {.delay = milliseconds(15)}},
                      Weather{"Reorders", {.delay = milliseconds(1), .jitter = milliseconds(4)}},
                      Weather{"Duplicates", {.duplicated = 0.2}},
                      Weather{"Squeezes", {.bytes_per_second = 4 << 20}}),
    [](const auto& info) { return info.param.name; });

TEST(HostFailure, ALargeCopyOverASlowNetworkIsNoDeath) {
  HostRanks job(2, Wiring::kWire);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1}, 2);
  ASSERT_CODE(0, job[0].Do("watch 0"));
  // five seconds for a copy: longer than any bound
  job.hosts().wire().Treat({.bytes_per_second = 6 << 20});
  job[1].Send("fill 0 0 host 0 0x1000000 4");
  EXPECT_CODE(0, job[0].Do("fill 0 1 host 0 0x2000000 3"));
  EXPECT_CODE(0, job[1].Receive());
  EXPECT_CODE(0, job[0].Do("check 0 1 host 0 0x1000000 3"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 0x2000000 3"));
  EXPECT_EQ("", job[0].Do("events 1 0").text);
}

TEST(HostFailure, TheStoresHostGoneDataPathsGoOnAndJoinsSayWhatHelps) {
  HostRanks job(3, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 1, 2}, 4);
  ASSERT_CODE(0, job[1].Do("loop 1 0 2 host 0x100000"));
  ASSERT_CODE(0, job[2].Do("watch 0"));
  ASSERT_TRUE(job.hosts().SetCable(0, false).ok());
  // rank 0 alone: longer than a lease, and rank 1 is still there
  EXPECT_EQ("-0", job[2].Do("events 2 5").text);
  auto late = job.Process(1);
  Answer refused = late->Do("init " + job.url() + " 4 3 init_timeout=3");
  EXPECT_EQ(-2004, refused.code) << refused.text;
  EXPECT_THAT(refused.text, AllOf(HasSubstr("10.77.0.1:8570"), HasSubstr("etcd://")));
  EXPECT_CODE(0, job[1].Do("loop_stop 1"));
  EXPECT_CODE(0, job[1].Do("fill 0 2 host 0 0x100000 5"));
  EXPECT_CODE(0, job[2].Do("load 0 2 host 0 0x100000 5"));
  // It comes back with the store and all that it held: so does everybody.
  ASSERT_TRUE(job.hosts().SetCable(0, true).ok());
  EXPECT_CODE(0, job[1].Do("try_fill 0 0 host 30 0"));
  EXPECT_CODE(0, late->Do("init " + job.url() + " 4 3"));
}

TEST(HostFailure, TheStoresProcessGoneAnotherRankOfItsHostServesIt) {
  HostRanks job(2, Wiring::kKernel);
  SKIP_WITHOUT_HOSTS(job);
  job.Start({0, 0, 1}, 4);
  ASSERT_CODE(0, job[1].Do("loop 1 0 2 host 0x100000"));
  job[0].Kill();
  auto late = job.Newcomer(1, 3);
  ASSERT_CODE(0, late->Do("join 0"));
  EXPECT_CODE(0, job[1].Do("loop_stop 1"));
  EXPECT_CODE(0, late->Do("fill 0 1 host 0 4096 1"));
  EXPECT_CODE(0, job[1].Do("load 0 1 host 0 4096 1"));
  EXPECT_CODE(-2014, late->Do("fill 0 0 host 0 4096 1"));
}

}  // namespace
}  // namespace memfabric::cluster
