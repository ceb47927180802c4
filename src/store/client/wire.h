// store/client/wire.h: the client's values as etcd's messages, and back. No state; any thread.

#pragma once

#include <grpcpp/support/status.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "store/client/client.h"
#include "store/proto/rpc.pb.h"

namespace memfabric::store {

// The end of the range of keys that begin with `prefix`.
std::string PrefixEnd(std::string_view prefix);

// Fills the two fields that say "every key that begins with `prefix`", of any request that has
// them.
template <typename Request>
void SetPrefix(std::string_view prefix, Request* request) {
  request->set_key(prefix.empty() ? std::string(1, '\0') : std::string(prefix));
  request->set_range_end(PrefixEnd(prefix));
}

KeyValue FromWire(const mvccpb::KeyValue& wire);
Snapshot FromWire(const etcdserverpb::RangeResponse& wire, std::int64_t revision);
WatchEvent FromWire(const mvccpb::Event& wire);
TransactionResult FromWire(const etcdserverpb::TxnResponse& wire);
etcdserverpb::TxnRequest ToWire(const Transaction& transaction);

// Reads all that is below a prefix, as it was at one revision, in answers of a bounded number of
// entries.
class PagedRead {
 public:
  explicit PagedRead(std::string_view prefix);
  const etcdserverpb::RangeRequest& request() const { return request_; }  // the next
  bool has_begun() const { return snapshot_.revision != 0; }
  bool IsOfTheSameStore(const etcdserverpb::RangeResponse& page) const {
    return !has_begun() || page.header().cluster_id() == cluster_id_;
  }
  // True: that was the last page. REQUIRES: it is of the same store.
  bool Add(const etcdserverpb::RangeResponse& page);
  Snapshot Take() { return std::move(snapshot_); }

 private:
  etcdserverpb::RangeRequest request_;
  Snapshot snapshot_;
  std::uint64_t cluster_id_ = 0;
};

// The connection is at fault, or the server behind it can't serve now: try again elsewhere.
bool IsConnectionFailure(const grpc::Status& status);
// What answers isn't an etcd v3 server, or one that refuses us for good.
bool IsRefusal(const grpc::Status& status);
// A few words on how a connection failed: "connection refused".
std::string FailureText(const grpc::Status& status);
// For all but connection failures.
Status FromWire(const grpc::Status& status);

}  // namespace memfabric::store
