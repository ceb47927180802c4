// tests/support/etcd_process.h: real etcd servers, for a test or a benchmark: one alone, or a
// cluster; on this host's loopback or in network namespaces.
//
// Their data are in temporary directories; these and they end with the object, and with the thread
// that started it. Threads: one at a time.

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/url.h"

namespace memfabric {

// Names of files. With them clients must show a certificate of that authority.
struct EtcdTls {
  std::string certificate;
  std::string key;
  std::string authority;
};

class EtcdProcess {
 public:
  // Returns once it answers. NotFound: there is no `etcd` in PATH. IoError brings the end of what
  // it logged.
  static Result<std::unique_ptr<EtcdProcess>> Start(const EtcdTls& tls = {});
  // So many as one cluster.
  static Result<std::vector<std::unique_ptr<EtcdProcess>>> StartCluster(int count);
  // Where a member runs: a namespace (support/netns/hosts.h), and its address there.
  struct Place {
    int network;
    std::string host;
  };
  // One cluster with a member in each place, at ports 2379 and 2380. They have been launched, and
  // needn't answer yet.
  static Result<std::vector<std::unique_ptr<EtcdProcess>>> LaunchCluster(
      const std::vector<Place>& places);
  ~EtcdProcess();
  EtcdProcess(const EtcdProcess&) = delete;
  EtcdProcess& operator=(const EtcdProcess&) = delete;

  const HostPort& address() const { return address_; }
  pid_t pid() const { return pid_; }

  // Ends it with SIGKILL, keeping its data; Restart() brings it back at the same address.
  void Kill();
  Status Restart();
  // The two halves: a cluster's members don't answer before most of them have been launched.
  // REQUIRES for the second: it runs in this process's namespace.
  Status Launch();
  Status AwaitReady();

 private:
  EtcdProcess(std::string directory, std::string name, HostPort address, HostPort peer_address,
              std::string cluster, EtcdTls tls, int network = -1)
      : directory_(std::move(directory)),
        name_(std::move(name)),
        address_(std::move(address)),
        peer_address_(std::move(peer_address)),
        cluster_(std::move(cluster)),
        tls_(std::move(tls)),
        network_(network) {}
  std::string EndOfLog() const;

  const std::string directory_;
  const std::string name_;
  const HostPort address_;
  const HostPort peer_address_;
  const std::string cluster_;  // its --initial-cluster
  const EtcdTls tls_;
  const int network_;  // -1: this process's
  pid_t pid_ = -1;
};

}  // namespace memfabric
