#include "store/embedded/txn_check.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace memfabric::store {
namespace {

constexpr std::size_t kMostKeyBytes = 64 << 10;

using etcdserverpb::RequestOp;
using Operations = google::protobuf::RepeatedPtrField<RequestOp>;

// A set of keys made of ranges; they are kept apart from each other, so that looking up and adding
// stay cheap.
class DeletedKeys {
 public:
  void Add(const etcdserverpb::DeleteRangeRequest& request) {
    // As in etcd, a range without an end ("\0") counts for nothing here.
    if (request.range_end().empty()) {
      Add(request.key(), request.key() + '\0');
    } else if (request.key() < request.range_end()) {
      Add(request.key(), request.range_end());
    }
  }
  void Add(const DeletedKeys& other) {
    for (const auto& [begin, end] : other.ranges_) Add(begin, end);
  }
  bool Contains(const std::string& key) const {
    auto after = ranges_.upper_bound(key);
    return after != ranges_.begin() && key < std::prev(after)->second;
  }

 private:
  void Add(std::string begin, std::string end) {
    auto next = ranges_.upper_bound(begin);
    if (next != ranges_.begin() && begin <= std::prev(next)->second) {
      --next;
      begin = next->first;
    }
    while (next != ranges_.end() && next->first <= end) {
      end = std::max(end, next->second);
      next = ranges_.erase(next);
    }
    ranges_.emplace(std::move(begin), std::move(end));
  }

  std::map<std::string, std::string> ranges_;  // begin to end
};

struct Written {
  std::set<std::string> puts;
  DeletedKeys deletes;
};

Refusal CheckOperations(const Operations& operations, Written* written) {
  for (const RequestOp& op : operations)
    if (op.has_request_delete_range()) written->deletes.Add(op.request_delete_range());

  for (const RequestOp& op : operations) {
    if (!op.has_request_txn()) continue;
    Written then, otherwise;
    if (Refusal refusal = CheckOperations(op.request_txn().success(), &then)) return refusal;
    if (Refusal refusal = CheckOperations(op.request_txn().failure(), &otherwise)) return refusal;
    for (const std::string& key : then.puts)
      if (written->deletes.Contains(key) || !written->puts.insert(key).second)
        return &kDuplicateKey;
    for (const std::string& key : otherwise.puts) {
      if (written->deletes.Contains(key)) return &kDuplicateKey;
      // The two branches exclude each other, so both may put a key.
      if (!written->puts.insert(key).second && !then.puts.contains(key)) return &kDuplicateKey;
    }
    // Only now: what they delete themselves has been held against what they put.
    written->deletes.Add(then.deletes);
    written->deletes.Add(otherwise.deletes);
  }

  for (const RequestOp& op : operations) {
    if (!op.has_request_put()) continue;
    const std::string& key = op.request_put().key();
    if (written->deletes.Contains(key) || !written->puts.insert(key).second) return &kDuplicateKey;
  }
  return nullptr;
}

Refusal CheckForms(const etcdserverpb::TxnRequest& request, int most_operations);

Refusal CheckForm(const RequestOp& op, int most_operations) {
  switch (op.request_case()) {
    case RequestOp::kRequestRange: return CheckRangeForm(op.request_range());
    case RequestOp::kRequestPut: return CheckPutForm(op.request_put());
    case RequestOp::kRequestDeleteRange: return CheckDeleteForm(op.request_delete_range());
    case RequestOp::kRequestTxn: return CheckForms(op.request_txn(), most_operations);
    case RequestOp::REQUEST_NOT_SET: break;
  }
  return &kKeyNotFound;
}

Refusal CheckForms(const etcdserverpb::TxnRequest& request, int most_operations) {
  const int operations =
      std::max({request.compare_size(), request.success_size(), request.failure_size()});
  if (operations > most_operations) return &kTooManyOperations;
  for (const etcdserverpb::Compare& compare : request.compare())
    if (compare.key().empty()) return &kEmptyKey;
  for (const RequestOp& op : request.success())
    if (Refusal refusal = CheckForm(op, most_operations - operations)) return refusal;
  for (const RequestOp& op : request.failure())
    if (Refusal refusal = CheckForm(op, most_operations - operations)) return refusal;
  return nullptr;
}

}  // namespace

Refusal CheckRangeForm(const etcdserverpb::RangeRequest& request) {
  return request.key().empty() ? &kEmptyKey : nullptr;
}

Refusal CheckPutForm(const etcdserverpb::PutRequest& request) {
  if (request.key().empty()) return &kEmptyKey;
  if (request.key().size() > kMostKeyBytes) return &kKeyTooLarge;
  if (request.ignore_value() && !request.value().empty()) return &kValueProvided;
  if (request.ignore_lease() && request.lease() != 0) return &kLeaseProvided;
  return nullptr;
}

Refusal CheckDeleteForm(const etcdserverpb::DeleteRangeRequest& request) {
  return request.key().empty() ? &kEmptyKey : nullptr;
}

Refusal CheckTxnForm(const etcdserverpb::TxnRequest& request, int most_operations) {
  if (Refusal refusal = CheckForms(request, most_operations)) return refusal;
  Written then, otherwise;
  if (Refusal refusal = CheckOperations(request.success(), &then)) return refusal;
  return CheckOperations(request.failure(), &otherwise);
}

}  // namespace memfabric::store
