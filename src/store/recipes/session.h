// store/recipes/session.h: this process's presence in the store: one lease, kept alive, and the
// records under it.
//
// If another store answers at the address (the embedded one died and was started again), the
// session takes a new lease there and publishes every record again; nobody but the store has
// forgotten anything. If the same store says that the lease has ended (this process was stopped
// past it), the others have given this process up: the observer hears it and decides.
//
// When the store can't be reached for as long as the lease lives, one error is logged, and Explain
// tells the calls that fail for it.
//
// Threads: any. One thread of its own keeps the lease alive; the observer is called on it, without
// locks held.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "store/client/client.h"

namespace memfabric::store {

constexpr std::chrono::seconds kSessionTimeToLive{3};  // docs/design.md "Membership"
constexpr std::chrono::milliseconds kKeepAlivePeriod{1000};

class SessionObserver {
 public:
  virtual ~SessionObserver() = default;
  // The lease ended in a store that went on without us: all records are gone and are not published
  // again. The session has a new lease already; the observer publishes what is true from now on.
  virtual void OnGivenUp() = 0;
  // Another store answers and all records stand there again, except those whose key somebody else
  // holds by now (`lost`).
  virtual void OnRepublished(const std::vector<std::string>& lost) = 0;
};

class Session {
 public:
  // `observer` may be null; it and the client outlive the session.
  static Result<std::unique_ptr<Session>> Open(Client& client, SessionObserver* observer,
                                               Deadline deadline);
  // Revokes the lease (bounded: 1 s), and with it all records. What the thread waits for ends.
  virtual ~Session() = default;

  virtual LeaseId lease() const = 0;

  // What a caller of the library hears when a call that needs the store fails with `failure`:
  // Reconnect, and why, if the lease could not be renewed for as long as it lives, and the failure
  // may come of that (Disconnected, DeadlineExceeded); else `failure`.
  virtual Status Explain(Status failure) const = 0;

  // Puts a record under the lease, or replaces this session's own. AlreadyExists: somebody else's
  // stands there.
  virtual Status Publish(std::string_view key, std::string_view value, Deadline deadline) = 0;
  // Deletes this session's record; Ok when there is none.
  virtual Status Withdraw(std::string_view key, Deadline deadline) = 0;
  // Takes part in a transaction of the caller's: puts under lease() of the branch that was carried
  // out are remembered as records, deleted ones forgotten. Reconnect: the session got another lease
  // meanwhile; nothing holds, start over.
  virtual Result<TransactionResult> Commit(const Transaction& transaction, Deadline deadline) = 0;
};

}  // namespace memfabric::store
