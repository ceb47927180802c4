// group/members.h: the ranks that a group is made of, as its owner knows them.
//
// Owner: a service's object. Threads: any.

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "address/global_address.h"
#include "base/status.h"
#include "group/control.h"
#include "transport/transport.h"

namespace memfabric::group {

class Members {
 public:
  virtual ~Members() = default;

  virtual std::uint32_t size() const = 0;
  virtual Rank own() const = 0;
  // Where loads and stores reach the rank's Control; null where they don't. Stays when the rank has
  // gone.
  virtual Control* Mapped(Rank rank) const = 0;
  // The lowest rank on the same host as `rank`; of that host's ranks each maps every other. All
  // members say the same; ranks that are told to be on different hosts may map each other
  // nevertheless.
  virtual Rank FirstOnHost(Rank rank) const = 0;
  // The link of a rank that is there; of one that isn't mapped it has zones() and signals().
  virtual std::shared_ptr<transport::Link> LinkOf(Rank rank) const = 0;
  // The zone that begins with the rank's Control.
  virtual Zone zone() const = 0;

  // How many ranks have gone so far; cheap.
  virtual std::uint32_t losses() const = 0;
  // Ok while the rank is there. NotFound: it has left in order; else it has died, and how that
  // showed. Names the rank.
  virtual Status WhyGone(Rank rank) const = 0;
  // The ranks that are there, for messages: "0, 1, 5".
  virtual std::string Left() const = 0;
};

}  // namespace memfabric::group
