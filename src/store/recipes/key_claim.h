// store/recipes/key_claim.h: how a process takes a key that only one live process may hold: a
// rank's, or an engine's name.
//
// The rule (docs/contract/python.md §2): a live holder is named (AlreadyExists), at once on its
// host, elsewhere once its lease has been seen renewed; a dead one is replaced, at once on its
// host, elsewhere when its lease ends. No state; any thread.

#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "store/recipes/keys.h"
#include "store/recipes/session.h"

namespace memfabric::store {

// Who holds a key, as its record says.
struct Holder {
  std::string host;  // identity
  std::string host_name;
  std::int64_t pid = 0;
  std::string liveness;
  std::string witness;
};
// Whether it runs on the host whose identity is `host`, which is this one. Warns, once a process,
// of another host that has the same identity.
bool IsHere(const Holder& holder, const std::string& host);

struct KeyClaim {
  std::string what;  // for messages: "rank 3"
  std::string key;
  std::string value;
  std::string host;  // of this process
  std::function<Result<Holder>(const KeyValue&)> holder_of;
  // Whether a holder on this process's host is alive: its liveness socket takes connections, or it
  // doesn't.
  std::function<bool(const std::string& liveness)> is_alive;
};

// Holds the key under the session's lease when Ok. AlreadyExists: as above. DeadlineExceeded: could
// not be decided in time.
Status ClaimKey(Client& client, Session& session, const Keys& keys, const KeyClaim& claim,
                Deadline deadline);

// The steps of it, for claims that choose among several keys.
struct ClaimAttempt {
  bool taken = false;
  std::optional<KeyValue> holder;  // who has it
};
// Tries once to put the record there; deletes `place` with it, if that is not "".
Result<ClaimAttempt> TryClaim(Client& client, Session& session, const Keys& keys,
                              const KeyClaim& claim, const std::string& place, Deadline deadline);
// Ends a dead process's lease, and with it all that it had published.
Status Bury(Client& client, const KeyValue& entry, Deadline deadline);
// Sleeps for `period`, but not beyond the deadline: DeadlineExceeded says that `what` was waited
// for.
Status PauseClaim(std::chrono::milliseconds period, const std::string& what, Deadline deadline);

}  // namespace memfabric::store
