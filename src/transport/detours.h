// transport/detours.h: how members are linked over the first transport that reaches each, and what
// becomes of one that shared memory should reach and doesn't.
//
// Two things make a member of this host, as its record has it, unreachable by memory while it
// lives: it belongs to another user, or two hosts have the same identity. Either goes by the next
// transport, which is said once, or is an error with MEMFABRIC_STRICT=1.
//
// Owned by a service's object. Threads: any.

#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "transport/transport.h"

namespace memfabric::transport {

// In the order of preference.
using Ports = std::vector<std::pair<const Transport*, std::unique_ptr<Port>>>;

// A member as a transport finds it.
struct Way {
  const Transport* transport;
  MemberAddress address;
};

class Detours {
 public:
  // A way to a member ended with `failed`. Ok: the member is to be tried over `others`, the ways
  // that come after it. Else what that way's failure means: `failed` itself, or that STRICT forbids
  // what would follow.
  Status Consider(const Status& failed, const MemberAddress& member, std::span<const Way> others);

 private:
  std::atomic<bool> said_{false};
};

struct Linked {
  Status status;  // as Port::ConnectAll; Unsupported: no transport reaches the member, and why
  bool detoured =
      // its first way didn't lead to it, so that a refusal proves nothing
      // (docs/decisions/refusals-prove-nothing.md)
      false;
};
// Links `count` members; `address_of` says where one is for a transport. Statuses in their order.
std::vector<Linked> ConnectOverBest(
    const Ports& ports, std::size_t count,
    const std::function<MemberAddress(std::size_t, const Transport&)>& address_of,
    Deadline deadline, Detours& detours);

}  // namespace memfabric::transport
