// tests/store/client/proxy.h: a TCP proxy on the loopback that a test cuts, refuses, stalls and
// points elsewhere, so that what is tested sees a network at fault while the store goes on.
//
// Threads: one of its own; the others any, one at a time.

#pragma once

#include <sys/types.h>

#include <list>
#include <mutex>
#include <thread>

#include "base/fd.h"
#include "base/url.h"

namespace memfabric::store::test {

// A socket that listens at a free port of the loopback, which `address` tells.
UniqueFd ListenOnLoopback(HostPort* address);

class Proxy {
 public:
  explicit Proxy(const HostPort& target);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  const HostPort& address() const { return address_; }

  // Ends every connection that stands.
  void Cut();
  // From now on connections are closed as soon as they are made (those that stand are cut), or
  // served again.
  void Refuse(bool refuse);
  // From now on nothing is passed on, and new connections are accepted but lead nowhere; or all
  // flows again.
  void Stall(bool stall);
  // New connections go there; those that stand are cut.
  void PointTo(const HostPort& target);
  std::size_t connections_made() const;

 private:
  struct Pair {
    UniqueFd client;
    UniqueFd server;
  };
  void Run();
  void Wake();
  void Accept();
  // False when the connection has ended.
  bool PassOn(int from, int to);

  mutable std::mutex mutex_;  // guards what follows
  HostPort target_;
  bool refuse_ = false;
  bool stall_ = false;
  bool stopping_ = false;
  std::size_t made_ = 0;
  std::list<Pair> pairs_;

  HostPort address_;
  UniqueFd listener_;
  UniqueFd wake_;
  std::thread thread_;
};

}  // namespace memfabric::store::test
