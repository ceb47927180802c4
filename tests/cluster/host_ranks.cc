#include "cluster/host_ranks.h"

namespace memfabric::cluster {

HostRanks::HostRanks(int hosts, netns::Wiring wiring) {
  auto made = netns::Hosts::Make(hosts, wiring);
  if (made.ok()) {
    hosts_ = std::move(*made);
  } else {
    why_not_ = made.status().message();
    EXPECT_TRUE(IsUnsupported(made.status())) << why_not_;
  }
}

void HostRanks::Start(const std::vector<int>& placement, int world,
                      const std::map<std::string, std::string>& environment) {
  std::vector<int> networks;
  for (int host : placement) networks.push_back(hosts_->Namespace(host));
  world_ = world;
  ranks_ = StartRanksIn(networks, url(), world, environment);
  All(ranks_, "create 0 0x2000000 0");
  All(ranks_, "join 0");
}

std::unique_ptr<RankProcess> HostRanks::Process(
    int host, const std::map<std::string, std::string>& environment) const {
  return std::make_unique<RankProcess>(environment, hosts_->Namespace(host));
}

std::unique_ptr<RankProcess> HostRanks::Newcomer(int host, int rank) {
  auto process = Process(host);
  EXPECT_CODE(
      0, process->Do("init " + url() + " " + std::to_string(world_) + " " + std::to_string(rank)));
  EXPECT_CODE(0, process->Do("create 0 0x2000000 0"));
  return process;
}

}  // namespace memfabric::cluster
