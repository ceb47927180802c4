// transport/liveness.h: how processes of one host tell whether another is alive, whatever it is
// doing.
//
// A process binds a random abstract name for as long as it lives; the kernel lets go of it with the
// process. A connection is accepted by the kernel, so a stopped process counts as alive. The name
// says whose it is: another user who binds the name of a dead process doesn't make it live.
//
// Threads: any.

#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/status.h"
#include "transport/reactor.h"

namespace memfabric::transport {

class LivenessSocket {
 public:
  // `reactor` outlives it; there, callers are accepted and closed.
  static Result<std::unique_ptr<LivenessSocket>> Bind(Reactor& reactor);
  ~LivenessSocket();  // From now on IsAlive(name()) is false.

  const std::string& name() const { return name_; }

  LivenessSocket(Reactor& reactor, std::string name, UniqueFd socket);

 private:
  Reactor& reactor_;
  std::string name_;
  UniqueFd socket_;
};

// Whether the process that bound `name` on this host lives. A name that can't be one: false; one
// that a user holds now who is neither its own nor allowed (base/allowed_users.h): false. Returns
// at once.
bool IsAlive(std::string_view name);

}  // namespace memfabric::transport
