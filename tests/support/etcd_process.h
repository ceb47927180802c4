// tests/support/etcd_process.h: a real etcd server of one member, on this host's loopback, for a test or a benchmark.
//
// Its data is in a temporary directory; both end with the object, and with the thread that started it.
// Threads: one at a time.

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/status.h"
#include "base/url.h"

namespace memfabric {

class EtcdProcess {
 public:
  // Returns once it answers. NotFound: there is no `etcd` in PATH. IoError brings the end of what it logged.
  static Result<std::unique_ptr<EtcdProcess>> Start();
  ~EtcdProcess();
  EtcdProcess(const EtcdProcess&) = delete;
  EtcdProcess& operator=(const EtcdProcess&) = delete;

  const HostPort& address() const { return address_; }
  pid_t pid() const { return pid_; }

  // Ends it with SIGKILL, keeping its data; Restart() brings it back at the same address.
  void Kill();
  Status Restart();

 private:
  EtcdProcess(std::string directory, HostPort address, HostPort peer_address)
      : directory_(std::move(directory)), address_(std::move(address)), peer_address_(std::move(peer_address)) {}
  Status AwaitReady();
  std::string EndOfLog() const;

  const std::string directory_;
  const HostPort address_;
  const HostPort peer_address_;
  pid_t pid_ = -1;
};

}  // namespace memfabric
