// trans/rpc_port.h: a TCP port that no other engine of this host gets as long as this one is held
// (docs/contract/python.md §4, get_rpc_port).
//
// It is held twice: by a socket that is bound to it without listening, so that no other program is
// given it, and by an abstract Unix name, so that no other engine is, because the socket admits
// others that set SO_REUSEADDR: whoever was given the port has to be able to listen there.
//
// Owner: an engine, or who will make one. Threads: any.

#pragma once

#include <cstdint>
#include <memory>

#include "base/fd.h"
#include "base/status.h"

namespace memfabric::trans {

class RpcPort {
 public:
  // One of 15000 to 25000. InUse: none is free.
  static Result<std::unique_ptr<RpcPort>> Take();

  std::uint16_t number() const { return number_; }

  RpcPort(std::uint16_t number, UniqueFd name, UniqueFd socket)
      : number_(number), name_(std::move(name)), socket_(std::move(socket)) {}

 private:
  std::uint16_t number_;
  UniqueFd name_;
  UniqueFd socket_;
};

}  // namespace memfabric::trans
