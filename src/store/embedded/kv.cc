#include "store/embedded/kv.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

#include "store/embedded/txn_check.h"

namespace memfabric::store {
namespace {

using etcdserverpb::Compare;
using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;

// what etcd wraps a write in before it measures it, roughly
constexpr std::size_t kEnvelopeBytes = 16;

bool HasRevisionBounds(const RangeRequest& request) {
  return request.min_mod_revision() != 0 || request.max_mod_revision() != 0 ||
         request.min_create_revision() != 0 || request.max_create_revision() != 0;
}

bool IsWithinBounds(const RangeRequest& request, const mvccpb::KeyValue& kv) {
  auto above = [](std::int64_t value, std::int64_t most) { return most != 0 && value > most; };
  auto below = [](std::int64_t value, std::int64_t least) { return least != 0 && value < least; };
  return !above(kv.mod_revision(), request.max_mod_revision()) &&
         !below(kv.mod_revision(), request.min_mod_revision()) &&
         !above(kv.create_revision(), request.max_create_revision()) &&
         !below(kv.create_revision(), request.min_create_revision());
}

void Sort(const RangeRequest& request, std::vector<const mvccpb::KeyValue*>* kvs) {
  const bool by_key = request.sort_target() == RangeRequest::KEY;
  if (request.sort_order() == RangeRequest::NONE && by_key) return;  // they come by key
  auto less = [&](const mvccpb::KeyValue* a, const mvccpb::KeyValue* b) {
    switch (request.sort_target()) {
      case RangeRequest::VERSION: return a->version() < b->version();
      case RangeRequest::CREATE: return a->create_revision() < b->create_revision();
      case RangeRequest::MOD: return a->mod_revision() < b->mod_revision();
      case RangeRequest::VALUE: return a->value() < b->value();
      default: return a->key() < b->key();
    }
  };
  if (request.sort_order() == RangeRequest::DESCEND)
    std::stable_sort(kvs->begin(), kvs->end(), [&](auto* a, auto* b) { return less(b, a); });
  else
    std::stable_sort(kvs->begin(), kvs->end(), less);
}

template <typename T>
bool Relate(Compare::CompareResult relation, const T& value, const T& operand) {
  switch (relation) {
    case Compare::EQUAL: return value == operand;
    case Compare::NOT_EQUAL: return value != operand;
    case Compare::GREATER: return value > operand;
    case Compare::LESS: return value < operand;
    default: return true;
  }
}

bool HoldsFor(const Compare& compare, const mvccpb::KeyValue& kv) {
  switch (compare.target()) {
    case Compare::VERSION: return Relate(compare.result(), kv.version(), compare.version());
    case Compare::CREATE:
      return Relate(compare.result(), kv.create_revision(), compare.create_revision());
    case Compare::MOD: return Relate(compare.result(), kv.mod_revision(), compare.mod_revision());
    case Compare::VALUE: return Relate(compare.result(), kv.value(), compare.value());
    case Compare::LEASE: return Relate(compare.result(), kv.lease(), compare.lease());
    default: return true;
  }
}

template <typename Request>
Refusal CheckSize(const Request& request) {
  return request.ByteSizeLong() + kEnvelopeBytes > Kv::kMostBytes ? &kRequestTooLarge : nullptr;
}

const google::protobuf::RepeatedPtrField<RequestOp>& Branch(const etcdserverpb::TxnRequest& request,
                                                            bool succeeded) {
  return succeeded ? request.success() : request.failure();
}

bool Writes(const etcdserverpb::TxnRequest& request) {
  auto writes = [](const RequestOp& op) {
    return op.has_request_txn() ? Writes(op.request_txn()) : !op.has_request_range();
  };
  return std::any_of(request.success().begin(), request.success().end(), writes) ||
         std::any_of(request.failure().begin(), request.failure().end(), writes);
}

}  // namespace

Refusal Kv::CheckRevision(std::int64_t revision) const {
  if (revision > mvcc_.revision()) return &kFutureRevision;
  if (revision > 0 && revision < mvcc_.compact_revision()) return &kCompacted;
  return nullptr;
}

Refusal Kv::CheckPut(const etcdserverpb::PutRequest& request, std::int64_t* growth) const {
  if (request.lease() != 0 && leases_.Find(request.lease()) == nullptr) return &kLeaseNotFound;
  const Mvcc::Kv current = mvcc_.Find(request.key());
  if ((request.ignore_value() || request.ignore_lease()) && current == nullptr)
    return &kKeyNotFound;
  if (request.ignore_value()) return nullptr;
  *growth += static_cast<std::int64_t>(Mvcc::BytesOf(request.key().size(), request.value().size()));
  if (current != nullptr)
    *growth -=
        static_cast<std::int64_t>(Mvcc::BytesOf(current->key().size(), current->value().size()));
  return nullptr;
}

Refusal Kv::CheckRoom(std::int64_t growth) const {
  if (growth <= 0 ||
      mvcc_.live_bytes() + static_cast<std::size_t>(growth) <= mvcc_.most_live_bytes())
    return nullptr;
  return &kNoSpace;
}

std::size_t Kv::AnswerBytes(const RangeRequest& request) const {
  if (request.count_only() || CheckRevision(request.revision()) != nullptr) return 0;
  const bool all = request.limit() <= 0 || request.sort_order() != RangeRequest::NONE ||
                   HasRevisionBounds(request);
  std::size_t bytes = 0;
  std::int64_t count = 0;
  const std::int64_t revision =
      request.revision() > 0 ? request.revision() : mvcc_.visible_revision();
  mvcc_.Visit({request.key(), request.range_end()}, revision, [&](const Mvcc::Kv& kv) {
    bytes += Mvcc::BytesOf(kv->key().size(), request.keys_only() ? 0 : kv->value().size());
    return all || ++count < request.limit();
  });
  return bytes;
}

std::size_t Kv::AnswerBytes(const etcdserverpb::DeleteRangeRequest& request) const {
  if (!request.prev_kv()) return 0;
  RangeRequest range;
  range.set_key(request.key());
  range.set_range_end(request.range_end());
  return AnswerBytes(range);
}

std::size_t Kv::AnswerBytes(const etcdserverpb::TxnRequest& request) const {
  std::size_t bytes = 0;
  for (const bool succeeded : {true, false})
    for (const RequestOp& op : Branch(request, succeeded)) {
      if (op.has_request_range()) bytes += AnswerBytes(op.request_range());
      if (op.has_request_delete_range()) bytes += AnswerBytes(op.request_delete_range());
      if (op.has_request_txn()) bytes += AnswerBytes(op.request_txn());
    }
  return bytes;
}

Refusal Kv::Range(const RangeRequest& request, etcdserverpb::RangeResponse* response) const {
  if (Refusal refusal = CheckRangeForm(request)) return refusal;
  if (Refusal refusal = CheckRevision(request.revision())) return refusal;
  ApplyRange(request, response);
  return nullptr;
}

void Kv::ApplyRange(const RangeRequest& request, etcdserverpb::RangeResponse* response) const {
  const bool all_first = request.sort_order() != RangeRequest::NONE || HasRevisionBounds(request);
  const std::size_t limit = request.limit() > 0 ? static_cast<std::size_t>(request.limit())
                                                : std::numeric_limits<std::size_t>::max();
  std::vector<const mvccpb::KeyValue*> kvs;
  std::int64_t count = 0;
  bool more = false;
  const std::int64_t revision =
      request.revision() > 0 ? request.revision() : mvcc_.visible_revision();
  mvcc_.Visit({request.key(), request.range_end()}, revision, [&](const Mvcc::Kv& kv) {
    ++count;
    if (request.count_only()) return true;
    if (!all_first && kvs.size() > limit) return true;  // one more than asked for tells of more
    if (IsWithinBounds(request, *kv)) kvs.push_back(kv.get());
    return true;
  });
  Sort(request, &kvs);
  if (kvs.size() > limit) {
    kvs.resize(limit);
    more = true;
  }
  response->mutable_header()->set_revision(mvcc_.visible_revision());
  response->set_count(count);
  response->set_more(more);
  response->mutable_kvs()->Reserve(static_cast<int>(kvs.size()));
  for (const mvccpb::KeyValue* kv : kvs) {
    mvccpb::KeyValue* out = response->add_kvs();
    if (!request.keys_only()) {
      *out = *kv;
      continue;
    }
    out->set_key(kv->key());
    out->set_create_revision(kv->create_revision());
    out->set_mod_revision(kv->mod_revision());
    out->set_version(kv->version());
    out->set_lease(kv->lease());
  }
}

Refusal Kv::Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response) {
  if (Refusal refusal = CheckPutForm(request)) return refusal;
  if (Refusal refusal = CheckSize(request)) return refusal;
  std::int64_t growth = 0;
  if (Refusal refusal = CheckPut(request, &growth)) return refusal;
  if (Refusal refusal = CheckRoom(growth)) return refusal;
  ApplyPut(request, response);
  return nullptr;
}

void Kv::ApplyPut(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response) {
  const Mvcc::Kv current =
      request.ignore_value() || request.ignore_lease() ? mvcc_.Find(request.key()) : nullptr;
  const std::string& value = request.ignore_value() ? current->value() : request.value();
  const std::int64_t lease = request.ignore_lease() ? current->lease() : request.lease();
  const Mvcc::Change& change = mvcc_.Put(request.key(), value, lease);
  const std::int64_t former_lease = change.previous == nullptr ? 0 : change.previous->lease();
  if (former_lease != lease) {
    if (former_lease != 0) leases_.Detach(former_lease, request.key());
    if (lease != 0) leases_.Attach(lease, request.key());
  }
  response->mutable_header()->set_revision(mvcc_.visible_revision());
  if (request.prev_kv() && change.previous != nullptr)
    *response->mutable_prev_kv() = *change.previous;
}

Refusal Kv::DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                        etcdserverpb::DeleteRangeResponse* response) {
  if (Refusal refusal = CheckDeleteForm(request)) return refusal;
  if (Refusal refusal = CheckSize(request)) return refusal;
  ApplyDelete(request, response);
  return nullptr;
}

void Kv::ApplyDelete(const etcdserverpb::DeleteRangeRequest& request,
                     etcdserverpb::DeleteRangeResponse* response) {
  const std::size_t deleted = mvcc_.Delete({request.key(), request.range_end()});
  const auto& changes = mvcc_.open_changes();
  for (auto change = std::prev(changes.end(), static_cast<std::ptrdiff_t>(deleted));
       change != changes.end(); ++change) {
    if (change->previous->lease() != 0)
      leases_.Detach(change->previous->lease(), change->previous->key());
    if (request.prev_kv()) *response->add_prev_kvs() = *change->previous;
  }
  response->mutable_header()->set_revision(mvcc_.visible_revision());
  response->set_deleted(static_cast<std::int64_t>(deleted));
}

void Kv::DeleteKeys(const std::set<std::string, std::less<>>& keys) {
  for (const std::string& key : keys) mvcc_.Delete({key, {}});
}

bool Kv::Holds(const Compare& compare) const {
  bool any = false;
  bool holds = true;
  mvcc_.Visit({compare.key(), compare.range_end()}, mvcc_.visible_revision(),
              [&](const Mvcc::Kv& kv) {
                any = true;
                holds = HoldsFor(compare, *kv);
                return holds;
              });
  if (any) return holds;
  // A key that isn't there has version, revisions and lease 0, but no value that could be compared.
  return compare.target() != Compare::VALUE &&
         HoldsFor(compare, mvccpb::KeyValue::default_instance());
}

void Kv::Choose(const etcdserverpb::TxnRequest& request, Path* path) const {
  const bool succeeded = std::all_of(request.compare().begin(), request.compare().end(),
                                     [&](const Compare& compare) { return Holds(compare); });
  path->push_back(succeeded);
  for (const RequestOp& op : Branch(request, succeeded))
    if (op.has_request_txn()) Choose(op.request_txn(), path);
}

Refusal Kv::CheckPath(const etcdserverpb::TxnRequest& request, const Path& path, std::size_t* step,
                      std::int64_t* growth) const {
  for (const RequestOp& op : Branch(request, path[(*step)++])) {
    Refusal refusal = nullptr;
    if (op.has_request_put()) refusal = CheckPut(op.request_put(), growth);
    if (op.has_request_range()) refusal = CheckRevision(op.request_range().revision());
    if (op.has_request_txn()) refusal = CheckPath(op.request_txn(), path, step, growth);
    if (refusal != nullptr) return refusal;
  }
  return nullptr;
}

Refusal Kv::Txn(const etcdserverpb::TxnRequest& request, etcdserverpb::TxnResponse* response) {
  if (Refusal refusal = CheckTxnForm(request, kMostOperations)) return refusal;
  if (Writes(request))
    if (Refusal refusal = CheckSize(request)) return refusal;
  Path path;
  Choose(request, &path);
  std::size_t step = 0;
  std::int64_t growth = 0;
  if (Refusal refusal = CheckPath(request, path, &step, &growth)) return refusal;
  if (Refusal refusal = CheckRoom(growth)) return refusal;
  step = 0;
  ApplyTxn(request, path, &step, response);
  response->mutable_header()->set_revision(mvcc_.visible_revision());
  return nullptr;
}

void Kv::ApplyTxn(const etcdserverpb::TxnRequest& request, const Path& path, std::size_t* step,
                  etcdserverpb::TxnResponse* response) {
  const bool succeeded = path[(*step)++];
  response->set_succeeded(succeeded);
  response->mutable_header();
  for (const RequestOp& op : Branch(request, succeeded)) {
    etcdserverpb::ResponseOp* out = response->add_responses();
    switch (op.request_case()) {
      case RequestOp::kRequestRange:
        ApplyRange(op.request_range(), out->mutable_response_range());
        break;
      case RequestOp::kRequestPut: ApplyPut(op.request_put(), out->mutable_response_put()); break;
      case RequestOp::kRequestDeleteRange:
        ApplyDelete(op.request_delete_range(), out->mutable_response_delete_range());
        break;
      case RequestOp::kRequestTxn:
        ApplyTxn(op.request_txn(), path, step, out->mutable_response_txn());
        break;
      case RequestOp::REQUEST_NOT_SET: break;  // refused by CheckTxnForm
    }
  }
}

}  // namespace memfabric::store
