// store/embedded/kv.h: the calls of etcd's KV service on an Mvcc and a LeaseTable, without gRPC.
//
// Each call is checked whole before it changes anything, so that none is ever carried out in part.
// Writing calls leave the transaction open: State commits it and tells the watches.
//
// Owner: State. Threads: one at a time.

#pragma once

#include <string>
#include <vector>

#include "store/embedded/lease_table.h"
#include "store/embedded/mvcc.h"
#include "store/embedded/refusal.h"
#include "store/proto/rpc.pb.h"

namespace memfabric::store {

class Kv {
 public:
  // of a transaction's branch, as etcd's
  static constexpr int kMostOperations = 128;
  // of a request that writes, as etcd's: 1.5 MiB
  static constexpr std::size_t kMostBytes = 3 << 19;
  // of any message, as etcd's: 2 MiB
  static constexpr int kMostMessageBytes = kMostBytes + (512 << 10);

  Kv(Mvcc& mvcc, LeaseTable& leases) : mvcc_(mvcc), leases_(leases) {}

  Refusal Range(const etcdserverpb::RangeRequest& request,
                etcdserverpb::RangeResponse* response) const;
  Refusal Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);
  Refusal DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                      etcdserverpb::DeleteRangeResponse* response);
  Refusal Txn(const etcdserverpb::TxnRequest& request, etcdserverpb::TxnResponse* response);

  // How many bytes the answer has, about, and at most.
  std::size_t AnswerBytes(const etcdserverpb::RangeRequest& request) const;
  std::size_t AnswerBytes(const etcdserverpb::DeleteRangeRequest& request) const;
  std::size_t AnswerBytes(const etcdserverpb::TxnRequest& request) const;

  // Every key of a lease that has just been removed.
  void DeleteKeys(const std::set<std::string, std::less<>>& keys);

 private:
  // for each transaction, outer before inner: whether its comparisons held
  using Path = std::vector<bool>;

  Refusal CheckRevision(std::int64_t revision) const;
  // `growth`: by how much what stands grows is added to it.
  Refusal CheckPut(const etcdserverpb::PutRequest& request, std::int64_t* growth) const;
  Refusal CheckPath(const etcdserverpb::TxnRequest& request, const Path& path, std::size_t* step,
                    std::int64_t* growth) const;
  // kNoSpace: what stands would grow past its limit. What doesn't grow is never refused, nor is
  // what deletes.
  Refusal CheckRoom(std::int64_t growth) const;
  bool Holds(const etcdserverpb::Compare& compare) const;
  void Choose(const etcdserverpb::TxnRequest& request, Path* path) const;

  // REQUIRES of these: checked.
  void ApplyRange(const etcdserverpb::RangeRequest& request,
                  etcdserverpb::RangeResponse* response) const;
  void ApplyPut(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);
  void ApplyDelete(const etcdserverpb::DeleteRangeRequest& request,
                   etcdserverpb::DeleteRangeResponse* response);
  void ApplyTxn(const etcdserverpb::TxnRequest& request, const Path& path, std::size_t* step,
                etcdserverpb::TxnResponse* response);

  Mvcc& mvcc_;
  LeaseTable& leases_;
};

}  // namespace memfabric::store
