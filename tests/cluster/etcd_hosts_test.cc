// Pools of two jobs whose store is a cluster of real etcd servers, each on a host of its own, that
// loses members: by their death, and by the network. Ranks stay, joins go on.

#include <arpa/inet.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/retry.h"
#include "cluster/host_ranks.h"
#include "support/etcd_process.h"

namespace memfabric::cluster {
namespace {

using netns::Hosts;
using netns::Wiring;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kMembers = 3;         // of the cluster, on hosts 0 to 2
constexpr int kNear = 3, kFar = 4;  // hosts with ranks only

std::string S(std::uint64_t n) { return std::to_string(n); }

std::string Url(const std::string& prefix) {
  std::string url = "etcd://";
  for (int i = 0; i < kMembers; ++i) url += (i == 0 ? "" : ",") + Hosts::Address(i) + ":2379";
  return url + prefix;
}

// What an etcd says of itself over HTTP; "" when it doesn't answer.
std::string StatusOf(const Hosts& hosts, int host) {
  std::string said;
  std::thread([&] {  // its namespace goes with it
    if (::setns(hosts.Namespace(host), CLONE_NEWNET) != 0) return;
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval patience{1, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(2379);
    ::inet_pton(AF_INET, Hosts::Address(host).c_str(), &address.sin_addr);
    if (RetryOnSignal([&] {
          return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
        }) != 0)
      return;
    const std::string request =
        "POST /v3/maintenance/status HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: "
        "2\r\n\r\n{}";
    if (RetryOnSignal(
            [&] { return ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL); }) < 0)
      return;
    char buffer[1024];
    for (ssize_t got;
         (got = RetryOnSignal([&] { return ::recv(fd.get(), buffer, sizeof(buffer), 0); })) > 0;)
      said.append(buffer, static_cast<size_t>(got));
  })
      .join();
  return said;
}

std::string Field(const std::string& json, const std::string& name) {
  auto at = json.find("\"" + name + "\":\"");
  if (at == std::string::npos) return "";
  at += name.size() + 4;
  return json.substr(at, json.find('"', at) - at);
}

class EtcdHosts : public ::testing::Test {
 protected:
  EtcdHosts() : job_(5, Wiring::kKernel) {}

  void SetUp() override {
    SKIP_WITHOUT_HOSTS(job_);
    std::vector<EtcdProcess::Place> places;
    for (int i = 0; i < kMembers; ++i)
      places.push_back({job_.hosts().Namespace(i), Hosts::Address(i)});
    auto launched = EtcdProcess::LaunchCluster(places);
    ASSERT_TRUE(launched.ok()) << launched.status();
    etcd_ = std::move(*launched);
    for (const char* prefix : {"/jobs/one", "/jobs/two"}) {
      std::vector<int> networks{job_.hosts().Namespace(kNear), job_.hosts().Namespace(kFar)};
      auto& ranks = ranks_.emplace_back(StartRanksIn(networks, Url(prefix), 6));
      All(ranks, "create 0 0x200000 0");
      All(ranks, "join 0");
      for (auto& rank : ranks) ASSERT_CODE(0, rank->Do("watch 0"));
      ASSERT_CODE(0, ranks[0]->Do("loop 1 0 1 host 65536"));
    }
  }

  int Leader() {
    for (auto end = steady_clock::now() + seconds(30); steady_clock::now() < end;) {
      for (int i = 0; i < kMembers; ++i) {
        std::string status = StatusOf(job_.hosts(), i);
        if (!Field(status, "leader").empty() &&
            Field(status, "leader") == Field(status, "member_id"))
          return i;
      }
    }
    ADD_FAILURE() << "no etcd leads";
    return 0;
  }

  // Both jobs take another rank, which reaches the others, and nobody has been given up.
  void ExpectJobsGoOn(int new_rank) {
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      auto& ranks = ranks_[i];
      auto late = job_.Process(kNear);
      ASSERT_CODE(
          0, late->Do("init " + Url(i == 0 ? "/jobs/one" : "/jobs/two") + " 6 " + S(new_rank)));
      ASSERT_CODE(0, late->Do("create 0 0x200000 0"));
      ASSERT_CODE(0, late->Do("join 0"));
      for (int rank : {0, 1}) {
        EXPECT_CODE(0, late->Do("fill 0 " + S(rank) + " host 0x100000 4096 " + S(10 * i + rank)));
        EXPECT_CODE(
            0, ranks[rank]->Do("load 0 " + S(rank) + " host 0x100000 4096 " + S(10 * i + rank)));
      }
      EXPECT_CODE(0, ranks[1]->Do("fill 0 " + S(new_rank) + " host 0 4096 " + S(i)));
      EXPECT_CODE(0, late->Do("load 0 " + S(new_rank) + " host 0 4096 " + S(i)));
      EXPECT_CODE(0, late->Do("leave 0"));
      EXPECT_EQ(0, late->Finish());
      events_[i] += (events_[i].empty() ? "+" : " +") + S(new_rank) + " -" + S(new_rank);
      count_ = 1 + std::count(events_[i].begin(), events_[i].end(), ' ');
      for (auto& rank : ranks) EXPECT_EQ(events_[i], rank->Do("events " + S(count_) + " 20").text);
    }
  }
  // For longer than a lease.
  void ExpectQuiet() {
    for (std::size_t i = 0; i < ranks_.size(); ++i)
      EXPECT_EQ(events_[i], ranks_[i][1]->Do("events " + S(count_ + 1) + " 4").text);
    for (auto& ranks : ranks_) EXPECT_CODE(0, ranks[0]->Do("loop_count 1"));
  }

  HostRanks job_;
  std::vector<std::unique_ptr<EtcdProcess>> etcd_;
  std::vector<std::vector<std::unique_ptr<RankProcess>>> ranks_;  // of two jobs
  std::string events_[2];
  std::size_t count_ = 0;
};

TEST_F(EtcdHosts, ALeaderCutOffByTheNetworkLosesNobody) {
  int cut = Leader();
  ASSERT_TRUE(job_.hosts().SetCable(cut, false).ok());
  ExpectQuiet();
  ExpectJobsGoOn(2);
  ASSERT_TRUE(job_.hosts().SetCable(cut, true).ok());
  ExpectQuiet();
  ExpectJobsGoOn(3);
}

TEST_F(EtcdHosts, AFollowerCutOffTogetherWithARankTakesThatRankOnly) {
  int cut = (Leader() + 1) % kMembers;
  auto lost = job_.Process(cut);
  ASSERT_CODE(0, lost->Do("init " + Url("/jobs/one") + " 6 5"));
  ASSERT_CODE(0, lost->Do("create 0 0x200000 0"));
  ASSERT_CODE(0, lost->Do("join 0"));
  ASSERT_CODE(0, lost->Do("watch 0"));
  ASSERT_TRUE(job_.hosts().SetInterface(cut, false).ok());
  RankProcess& other = *ranks_[0][1];
  EXPECT_EQ("+5 -5", other.Do("events 2 20").text);
  EXPECT_CODE(-2014, other.Do("fill 0 5 host 0 4096 1"));
  EXPECT_CODE(0, lost->Do("try_fill 0 1 host 10 -2014"));
  events_[0] = "+5 -5";
  count_ = 2;
  for (auto& rank : ranks_[0]) EXPECT_EQ(events_[0], rank->Do("events 2 20").text);
  ExpectJobsGoOn(2);  // with a majority still
  ASSERT_TRUE(job_.hosts().SetInterface(cut, true).ok());
  EXPECT_CODE(0, other.Do("try_fill 0 5 host 30 0"));
  EXPECT_CODE(0, lost->Do("try_fill 0 1 host 30 0"));
  EXPECT_CODE(0, lost->Do("fill 0 1 host 0x100000 4096 9"));
  EXPECT_CODE(0, other.Do("load 0 1 host 0x100000 4096 9"));
}

TEST_F(EtcdHosts, TheLeaderIsKilledAndComesBack) {
  int killed = Leader();
  etcd_[killed]->Kill();
  ExpectQuiet();
  ExpectJobsGoOn(2);
  ASSERT_TRUE(etcd_[killed]->Launch().ok());
  ExpectJobsGoOn(3);
  ExpectQuiet();
}

TEST_F(EtcdHosts, AllRestartedWithTheirData) {
  for (auto& etcd : etcd_) etcd->Kill();
  for (auto& etcd : etcd_) ASSERT_TRUE(etcd->Launch().ok());
  ExpectJobsGoOn(2);
  ExpectQuiet();
}

}  // namespace
}  // namespace memfabric::cluster
