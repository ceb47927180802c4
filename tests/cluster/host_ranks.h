// tests/cluster/host_ranks.h: ranks on several hosts (support/netns/hosts.h), with the store on
// host 0.

#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cluster/rank_process.h"
#include "support/netns/hosts.h"

namespace memfabric::cluster {

class HostRanks {
 public:
  // `hosts` of them. `why_not` says why there can be none here; the test is skipped then.
  HostRanks(int hosts, netns::Wiring wiring);
  const std::string& why_not() const { return why_not_; }

  // Starts rank i on host placement[i], initialized at url(), each with a pool 0 of 32 MiB that it
  // has joined.
  void Start(const std::vector<int>& placement, int world,
             const std::map<std::string, std::string>& environment = {});
  // A process on that host that has done nothing yet.
  std::unique_ptr<RankProcess> Process(
      int host, const std::map<std::string, std::string>& environment = {}) const;
  // Rank `rank` on that host, initialized and with its pool created, not joined.
  std::unique_ptr<RankProcess> Newcomer(int host, int rank);

  std::string url() const { return netns::Hosts::StoreUrl(); }
  netns::Hosts& hosts() { return *hosts_; }
  RankProcess& operator[](int rank) { return *ranks_[rank]; }
  std::vector<std::unique_ptr<RankProcess>>& ranks() { return ranks_; }

 private:
  std::unique_ptr<netns::Hosts> hosts_;
  std::string why_not_;
  int world_ = 0;
  std::vector<std::unique_ptr<RankProcess>> ranks_;
};

#define SKIP_WITHOUT_HOSTS(host_ranks) \
  if (!(host_ranks).why_not().empty()) GTEST_SKIP() << (host_ranks).why_not()

}  // namespace memfabric::cluster
