// copy/through_links.h: the frame around every copy that uses links: whatever was begun is ended
// before the copy returns.

#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "base/status.h"
#include "copy/link_mover.h"
#include "copy/reach.h"
#include "copy/relay.h"

namespace memfabric::copy {

// Runs move(mover, relay), then flushes both, also after a failure: links may use the caller's
// memory until then. The first error.
template <typename Move>
Status ThroughLinks(const Reach& reach, std::chrono::nanoseconds flush_timeout, const Move& move) {
  LinkMover mover(reach.counters(), flush_timeout);
  Relay relay(reach.counters(), flush_timeout);
  Status status = move(mover, relay);
  Status flushed = mover.Flush();
  if (status.ok()) status = std::move(flushed);
  Status relayed = relay.Finish();
  if (status.ok()) status = std::move(relayed);
  if (std::unique_ptr<std::byte[]> buffer = relay.TakeUnreturned()) reach.Keep(std::move(buffer));
  return status;
}

}  // namespace memfabric::copy
