// store/client/watches.h: all watches of a client, on one stream of the connection that stands at
// the moment.
//
// A watch knows the revision that it has to see next, and the incarnation of the store that this
// revision is of. On every new connection it goes on from there; if the revision is gone, or is
// another store's, it begins anew with a snapshot.
//
// Owner: the client. Threads: Add and Remove any; the rest on the IoThread, handlers too.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "store/client/client.h"
#include "store/client/connection.h"
#include "store/client/wire.h"

namespace memfabric::store {

class Watches {
 public:
  // `on_end`: the stream of a connection has ended, and with it the connection.
  using OnEnd = std::function<void(const std::shared_ptr<StoreConnection>&, const grpc::Status&)>;

  explicit Watches(OnEnd on_end) : on_end_(std::move(on_end)) {}
  // REQUIRES of the end: the IoThread has drained.

  // Opens the stream, which ends with the connection, and resumes every watch on it.
  void Attach(const std::shared_ptr<StoreConnection>& connection, std::uint64_t incarnation);
  void Detach();

  std::unique_ptr<Watch> Add(std::string_view prefix, std::int64_t start_revision,
                             Client::WatchHandler handler);

 private:
  using WatchStream = CallStream<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>;
  struct Entry {
    Entry(std::string_view prefix, Client::WatchHandler handler)
        : prefix(prefix), handler(std::move(handler)) {}
    const std::string prefix;
    const Client::WatchHandler handler;
    // held around a call of the handler; recursive, as a handler may end its own watch
    RecursiveMutex calling;
    bool ended GUARDED_BY(calling) = false;
    // Guarded by the Watches' mutex.
    std::int64_t next_revision = 0;  // 0: begins with a snapshot
    std::uint64_t incarnation = 0;
    bool informed = false;  // the handler, or who gave us the start revision, knows of a state
    bool replaced = false;  // the snapshot that comes next is another store's
    std::int64_t server_id = kNoServerId;
    bool removed = false;
  };
  static constexpr std::int64_t kNoServerId = -1;
  class Handle;

  void Remove(const std::shared_ptr<Entry>& entry);
  void OnResponse(const std::shared_ptr<WatchStream>& stream,
                  const etcdserverpb::WatchResponse& response);
  void OnPage(const std::shared_ptr<Entry>& entry,
              const std::shared_ptr<StoreConnection>& connection,
              const std::shared_ptr<PagedRead>& read, const etcdserverpb::RangeResponse& response);
  // REQUIRES of these: attached.
  void Resume(const std::shared_ptr<Entry>& entry) REQUIRES(mutex_);
  void Create(const std::shared_ptr<Entry>& entry) REQUIRES(mutex_);
  void Cancel(Entry& entry) REQUIRES(mutex_);
  void ReadSnapshot(const std::shared_ptr<Entry>& entry) REQUIRES(mutex_);
  void ReadPage(const std::shared_ptr<Entry>& entry, const std::shared_ptr<PagedRead>& read)
      REQUIRES(mutex_);

  const OnEnd on_end_;

  Mutex mutex_;
  std::list<std::shared_ptr<Entry>> entries_ GUARDED_BY(mutex_);
  std::shared_ptr<StoreConnection> connection_ GUARDED_BY(mutex_);  // null while detached
  std::shared_ptr<WatchStream> stream_ GUARDED_BY(mutex_);
  std::uint64_t incarnation_ GUARDED_BY(mutex_) = 0;
  // asked for, in order; the server answers in that order
  std::deque<std::shared_ptr<Entry>> creating_ GUARDED_BY(mutex_);
  std::unordered_map<std::int64_t, std::shared_ptr<Entry>> by_server_id_ GUARDED_BY(mutex_);
};

}  // namespace memfabric::store
