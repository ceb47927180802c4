// store/client/client.h: one client for the embedded store and for an etcd v3 cluster.
//
// Reconnects by itself with back-off. Calls return within their deadline; a watch resumes where it
// was, without losing or repeating an event.
//
// Threads: any. One of its own does the input and output, and calls the handlers of watches, one
// call at a time. A handler must return at once and wait for nothing of the client's: neither for a
// call, nor for a lock that somebody holds during one. It may begin and end watches. Watches end
// before their client does.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/url.h"
#include "store/tls/credentials.h"

namespace memfabric::store {

using LeaseId = std::int64_t;
constexpr LeaseId kNoLease = 0;

struct KeyValue {
  std::string key;
  std::string value;
  std::int64_t create_revision = 0;
  std::int64_t mod_revision = 0;
  std::int64_t version = 0;
  LeaseId lease = kNoLease;
};

// What was read, and the revision of the store at which it was true.
struct Snapshot {
  std::int64_t revision = 0;
  std::vector<KeyValue> entries;  // by key
};

struct Compare {
  enum class Target { kVersion, kCreateRevision, kModRevision, kLease };
  enum class Relation { kEqual, kGreater, kLess, kNotEqual };
  Target target = Target::kVersion;
  Relation relation = Relation::kEqual;
  std::string key;
  // every key below `key`; true as well when there is none and the comparison holds for 0
  bool prefix = false;
  std::int64_t operand = 0;
};

struct Operation {
  enum class Type { kPut, kDelete, kGet };
  Type type = Type::kPut;
  std::string key;
  std::string value{};       // kPut
  LeaseId lease = kNoLease;  // kPut
  bool prefix = false;       // kDelete, kGet
};

struct Transaction {
  std::vector<Compare> conditions;
  std::vector<Operation> then;
  std::vector<Operation> otherwise;
};

struct TransactionResult {
  bool succeeded = false;
  std::int64_t revision = 0;
  std::vector<Snapshot> gets;  // one for each kGet of the branch that ran, in order
};

struct WatchEvent {
  enum class Type { kPut, kDelete };
  Type type = Type::kPut;
  KeyValue entry;  // kDelete: the key and the revision of the deletion (mod_revision)
};

// Ends the watch when destroyed; returns after the last callback has.
class Watch {
 public:
  virtual ~Watch() = default;
};

// Which store answers: a store that lost its state (an embedded one that was started again) has
// another identity.
struct StoreIdentity {
  std::uint64_t cluster_id = 0;
  // How many stores this client has seen before; tells stores apart that share a cluster id (an
  // etcd whose data were wiped).
  std::uint64_t incarnation = 0;
  bool operator==(const StoreIdentity&) const = default;
};

class Client {
 public:
  struct Options {
    std::chrono::milliseconds first_backoff{20};
    std::chrono::milliseconds last_backoff{500};
    // null: none, all goes in the clear. Shared with whoever else uses them
    std::shared_ptr<const TlsCredentials> tls{};
  };

  // Returns once the store has answered. DeadlineExceeded says what was tried and how each try
  // ended; InvalidArgument when what answers at every address isn't an etcd v3 server, refuses us,
  // or is refused by us (TLS): which, is said.
  static Result<std::unique_ptr<Client>> Connect(const StoreUrl& url, const Options& options,
                                                 Deadline deadline);

  virtual ~Client() = default;  // Ends calls in flight with Disconnected.

  virtual StoreIdentity identity() const = 0;  // of the store that answered last

  // Calls wait for a lost store until their deadline. Disconnected: it couldn't be reached. From
  // Put, Delete and Commit also: the connection ended meanwhile, and the call may or may not have
  // been carried out.
  virtual Result<std::optional<KeyValue>> Get(std::string_view key, Deadline deadline) = 0;
  virtual Result<Snapshot> GetPrefix(std::string_view prefix, Deadline deadline) = 0;
  // The first `most` entries below `prefix` whose key is `from` or later.
  virtual Result<Snapshot> GetSome(std::string_view prefix, std::string_view from,
                                   std::int64_t most, Deadline deadline) = 0;
  virtual Result<std::int64_t> Put(std::string_view key, std::string_view value, LeaseId lease,
                                   Deadline deadline) = 0;
  // how many keys went
  virtual Result<std::int64_t> Delete(std::string_view key, Deadline deadline) = 0;
  virtual Result<TransactionResult> Commit(const Transaction& transaction, Deadline deadline) = 0;

  virtual Result<LeaseId> GrantLease(std::chrono::seconds time_to_live, Deadline deadline) = 0;
  virtual Status RevokeLease(LeaseId lease, Deadline deadline) = 0;
  // What is left of the lease; NotFound when it has ended.
  virtual Result<std::chrono::seconds> KeepLeaseAlive(LeaseId lease, Deadline deadline) = 0;
  virtual Result<std::chrono::seconds> LeaseTimeToLive(LeaseId lease, Deadline deadline) = 0;

  struct WatchHandler {
    // Events of one store revision, or several, in order.
    std::function<void(const std::vector<WatchEvent>&)> on_events;
    // The history is gone (compacted, or another store answers): what was missed can't be told; the
    // watch goes on from the snapshot passed, which replaces all that the handler knew. `replaced`:
    // it is another store than before.
    std::function<void(const Snapshot&, bool replaced)> on_reset;
  };
  // Everything below `prefix` from `start_revision` on (the revision after a GetPrefix's snapshot);
  // with 0, begins with an on_reset of what stands there. Returns at once, whether the store can be
  // reached or not.
  virtual std::unique_ptr<Watch> WatchPrefix(std::string_view prefix, std::int64_t start_revision,
                                             WatchHandler handler) = 0;

  // Tells when the store is lost (false: the connection ended, or nothing is heard any more) and
  // when one answers again (true; maybe another: see identity()). Called at changes only; a
  // handler like those of watches.
  virtual std::unique_ptr<Watch> WatchConnection(std::function<void(bool answers)> handler) = 0;

  // The store has moved: later calls and all watches go there. When nothing answers there, all
  // stays as it was.
  virtual Status MoveTo(const StoreUrl& url, Deadline deadline) = 0;
};

}  // namespace memfabric::store
