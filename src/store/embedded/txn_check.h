// store/embedded/txn_check.h: what etcd asks of a transaction before it looks at the store.

#pragma once

#include "store/embedded/refusal.h"
#include "store/proto/rpc.pb.h"

namespace memfabric::store {

Refusal CheckRangeForm(const etcdserverpb::RangeRequest& request);
Refusal CheckPutForm(const etcdserverpb::PutRequest& request);
Refusal CheckDeleteForm(const etcdserverpb::DeleteRangeRequest& request);
// Every key is given; no branch has more than `most_operations`; no key is put twice, or put and
// deleted, on one way through.
Refusal CheckTxnForm(const etcdserverpb::TxnRequest& request, int most_operations);

}  // namespace memfabric::store
