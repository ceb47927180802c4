// bm/window_agreement.h: how all processes of a pool come to the same addresses, in whatever order
// they create it.
//
// Every process that has the pool open keeps a WindowRecord in the store, and all records of a pool
// say the same. The first creator chooses a place that no other pool's record and no mapping of its
// own overlaps, and writes it in a transaction that fails if any window was recorded meanwhile;
// everybody else takes what is there. docs/addressing.md tells the whole story.
//
// No state of its own. Threads: any.

#pragma once

#include <functional>
#include <memory>

#include "address/pool_layout.h"
#include "address/window.h"
#include "base/status.h"
#include "bm/config.h"
#include "runtime/job.h"

namespace memfabric::bm {

struct PoolWindow {
  PoolLayout layout;
  std::shared_ptr<Window> window;
};

// Reserves the pool's window and publishes this process's record of it.
// InvalidArgument: sizes or world size differ from the pool's (names the rank and both values), or
// nothing that large fits. InUse: this process has something mapped there. DeadlineExceeded: nobody
// has contributed yet.
Result<PoolWindow> AgreeOnWindow(Job& job, const CreateOptions& options, bool dynamic_world_size,
                                 Deadline deadline);

// Publishes the record again after this process had been given up. InvalidArgument: the pool has
// another window by now.
Status RepublishWindow(Job& job, std::uint32_t id, const PoolWindow& agreed, bool numbers_only,
                       Deadline deadline);

}  // namespace memfabric::bm
