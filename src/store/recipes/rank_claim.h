// store/recipes/rank_claim.h: how a process becomes a rank (docs/contract/python.md §2 initialize).
// No state; any thread.

#pragma once

#include <functional>
#include <optional>
#include <string>

#include "address/global_address.h"
#include "base/clock.h"
#include "base/status.h"
#include "store/recipes/keys.h"
#include "store/recipes/records.pb.h"
#include "store/recipes/session.h"

namespace memfabric::store {

struct ClaimOptions {
  std::optional<Rank> rank;  // none: the lowest free one, next to this host's others
  std::uint32_t world_size = 0;
  RankRecord record;  // all but the rank
  // Whether the holder of a record on record.host() is alive: its liveness socket takes
  // connections, or it doesn't.
  std::function<bool(const std::string& liveness)> is_alive;
};

// Holds the rank's record under the session's lease when Ok.
// AlreadyExists: a live process has the rank; names it (host, pid). At once on the same host,
// elsewhere once its lease has been seen renewed; a holder that is dead is replaced at once on the
// same host, elsewhere when its lease ends. InUse: all ranks are taken. DeadlineExceeded: could not
// be decided in time.
Result<Rank> ClaimRank(Client& client, Session& session, const Keys& keys,
                       const ClaimOptions& options, Deadline deadline);

}  // namespace memfabric::store
