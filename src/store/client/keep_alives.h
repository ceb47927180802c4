// store/client/keep_alives.h: all leases that are kept alive over one connection, on one stream,
// opened when first needed and again when the server has ended it, which may happen while the
// connection goes on.
//
// Owner: the client, one for each connection. Threads: Send any; answers come on the IoThread,
// without locks held.

#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "store/client/connection.h"

namespace memfabric::store {

class KeepAlives final : public std::enable_shared_from_this<KeepAlives> {
 public:
  using Done = StoreConnection::Done<etcdserverpb::LeaseKeepAliveResponse>;

  explicit KeepAlives(std::shared_ptr<StoreConnection> connection)
      : connection_(std::move(connection)) {}

  // `done` runs once. False, and nothing happens, when the connection has ended.
  [[nodiscard]] bool Send(std::int64_t lease, Done done);

 private:
  using KeepAliveStream =
      CallStream<etcdserverpb::LeaseKeepAliveRequest, etcdserverpb::LeaseKeepAliveResponse>;
  struct Waiter {
    std::int64_t lease;
    Done done;
  };

  void OnResponse(const etcdserverpb::LeaseKeepAliveResponse& response);
  void OnEnd(const grpc::Status& status);

  const std::shared_ptr<StoreConnection> connection_;
  Mutex mutex_;
  std::shared_ptr<KeepAliveStream> stream_ GUARDED_BY(mutex_);
  std::deque<Waiter> waiters_ GUARDED_BY(mutex_);  // in the order of their requests
};

}  // namespace memfabric::store
