// tests/support/netns/hosts.h: several hosts on one machine: network namespaces with an Ethernet
// between them.
//
// The namespaces have no names: descriptors here and the processes inside hold them, so they are
// gone, with all interfaces, when the object and those processes are, also when the test crashes.
// Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN).
//
// Threads: one at a time.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "support/netns/wire.h"

namespace memfabric::netns {

enum class Wiring {
  kKernel,  // veth pairs and a bridge: as fast as this machine
  kWire,    // TAP devices and wire.h between them, which can lose, delay and cut
};

class Hosts {
 public:
  // Unsupported says why there can be none here.
  static Result<std::unique_ptr<Hosts>> Make(int count, Wiring wiring);

  int count() const { return static_cast<int>(hosts_.size()); }
  static std::string Address(int host);   // "10.77.0.1" is host 0's
  static std::string Address6(int host);  // "fd77::1"
  // "tcp://10.77.0.1:8570": a store on host 0.
  static std::string StoreUrl();
  // For setns().
  int Namespace(int host) const { return hosts_[host].get(); }

  // Runs a program inside a host and waits for it; IoError with what it wrote to stderr.
  Status Run(int host, const std::vector<std::string>& command,
             const std::string& input = "") const;
  // The host's own interface goes down or up: its routes go with it.
  Status SetInterface(int host, bool up) const;
  // The cable is pulled or put back: the host's interface stays, nothing arrives. REQUIRES:
  // kKernel.
  Status SetCable(int host, bool plugged) const;
  // REQUIRES: kWire.
  Wire& wire() { return *wire_; }

 private:
  Hosts() = default;
  Status Lay(Wiring wiring);

  std::vector<UniqueFd> hosts_;  // namespaces
  UniqueFd switch_;              // the bridge's
  std::unique_ptr<Wire> wire_;
};

}  // namespace memfabric::netns
