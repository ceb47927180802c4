#include "store/client/wire.h"

#include <array>

namespace memfabric::store {
namespace {

namespace pb = etcdserverpb;

constexpr std::int64_t kPageEntries = 128;

pb::Compare ToWire(const Compare& compare) {
  pb::Compare wire;
  if (compare.prefix) {
    SetPrefix(compare.key, &wire);
  } else {
    wire.set_key(compare.key);
  }
  switch (compare.relation) {
    case Compare::Relation::kEqual: wire.set_result(pb::Compare::EQUAL); break;
    case Compare::Relation::kGreater: wire.set_result(pb::Compare::GREATER); break;
    case Compare::Relation::kLess: wire.set_result(pb::Compare::LESS); break;
    case Compare::Relation::kNotEqual: wire.set_result(pb::Compare::NOT_EQUAL); break;
  }
  switch (compare.target) {
    case Compare::Target::kVersion:
      wire.set_target(pb::Compare::VERSION);
      wire.set_version(compare.operand);
      break;
    case Compare::Target::kCreateRevision:
      wire.set_target(pb::Compare::CREATE);
      wire.set_create_revision(compare.operand);
      break;
    case Compare::Target::kModRevision:
      wire.set_target(pb::Compare::MOD);
      wire.set_mod_revision(compare.operand);
      break;
    case Compare::Target::kLease:
      wire.set_target(pb::Compare::LEASE);
      wire.set_lease(compare.operand);
      break;
  }
  return wire;
}

template <typename Request>
void SetRange(const Operation& operation, Request* request) {
  if (operation.prefix) {
    SetPrefix(operation.key, request);
  } else {
    request->set_key(operation.key);
  }
}

pb::RequestOp ToWire(const Operation& operation) {
  pb::RequestOp wire;
  switch (operation.type) {
    case Operation::Type::kPut: {
      auto* put = wire.mutable_request_put();
      put->set_key(operation.key);
      put->set_value(operation.value);
      put->set_lease(operation.lease);
      break;
    }
    case Operation::Type::kDelete: SetRange(operation, wire.mutable_request_delete_range()); break;
    case Operation::Type::kGet: SetRange(operation, wire.mutable_request_range()); break;
  }
  return wire;
}

}  // namespace

std::string PrefixEnd(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
  if (end.empty()) return std::string(1, '\0');
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

KeyValue FromWire(const mvccpb::KeyValue& wire) {
  return {.key = wire.key(),
          .value = wire.value(),
          .create_revision = wire.create_revision(),
          .mod_revision = wire.mod_revision(),
          .version = wire.version(),
          .lease = wire.lease()};
}

Snapshot FromWire(const pb::RangeResponse& wire, std::int64_t revision) {
  Snapshot snapshot;
  snapshot.revision = revision;
  snapshot.entries.reserve(wire.kvs_size());
  for (const auto& entry : wire.kvs()) snapshot.entries.push_back(FromWire(entry));
  return snapshot;
}

WatchEvent FromWire(const mvccpb::Event& wire) {
  return {.type = wire.type() == mvccpb::Event::DELETE ? WatchEvent::Type::kDelete
                                                       : WatchEvent::Type::kPut,
          .entry = FromWire(wire.kv())};
}

TransactionResult FromWire(const pb::TxnResponse& wire) {
  TransactionResult result{
      .succeeded = wire.succeeded(), .revision = wire.header().revision(), .gets = {}};
  for (const auto& response : wire.responses())
    if (response.has_response_range())
      result.gets.push_back(FromWire(response.response_range(), result.revision));
  return result;
}

pb::TxnRequest ToWire(const Transaction& transaction) {
  pb::TxnRequest wire;
  for (const auto& condition : transaction.conditions) *wire.add_compare() = ToWire(condition);
  for (const auto& operation : transaction.then) *wire.add_success() = ToWire(operation);
  for (const auto& operation : transaction.otherwise) *wire.add_failure() = ToWire(operation);
  return wire;
}

PagedRead::PagedRead(std::string_view prefix) {
  SetPrefix(prefix, &request_);
  request_.set_limit(kPageEntries);
}

bool PagedRead::Add(const pb::RangeResponse& page) {
  snapshot_.revision = has_begun() ? snapshot_.revision : page.header().revision();
  cluster_id_ = page.header().cluster_id();
  for (const auto& entry : page.kvs()) snapshot_.entries.push_back(FromWire(entry));
  if (!page.more() || page.kvs_size() == 0) return true;
  request_.set_revision(snapshot_.revision);
  request_.set_key(snapshot_.entries.back().key + '\0');
  return false;
}

bool IsConnectionFailure(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:  // by us, with the connection; or by a server that stops
      return true;
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:  // gRPC's own, when a stream is cut in the middle
      return status.error_message().find("CallStream removed") != std::string::npos ||
             status.error_message().find("RST_STREAM") != std::string::npos;
    default: return false;
  }
}

bool IsRefusal(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::INVALID_ARGUMENT: return true;
    case grpc::StatusCode::UNKNOWN:  // an HTTP/2 server that serves no gRPC
      return status.error_message().find("http2 header") != std::string::npos;
    default: return false;
  }
}

std::string FailureText(const grpc::Status& status) {
  struct Known {
    std::string_view theirs;
    std::string_view ours;
  };
  static constexpr std::array<Known, 9> kKnown{
      {{"Cannot assign requested address", "no local port is free to connect from, or no address"},
       {"StoreConnection refused", "connection refused"},
       {"No route to host", "no route to the host"},
       {"Network is unreachable", "the network is unreachable"},
       {"keepalive watchdog timeout", "it answers no pings"},
       {"DNS resolution failed", "the host name doesn't resolve"},
       {"StoreConnection reset", "the connection was reset"},
       {"Socket closed", "the connection was closed"},
       {"http1.x server", "it speaks HTTP/1"}}};
  for (const auto& [theirs, ours] : kKnown)
    if (status.error_message().find(theirs) != std::string::npos) return std::string(ours);
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
    return "it accepts connections but doesn't answer";
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED ||
      status.error_message().find("http2 header") != std::string::npos)
    return fmt::format("it isn't a store (etcd v3): {}", status.error_message());
  return status.error_message();
}

Status FromWire(const grpc::Status& status) {
  const std::string& text = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::OK: return Ok();
    case grpc::StatusCode::NOT_FOUND: return Status(Kind::kNotFound, text);
    case grpc::StatusCode::ALREADY_EXISTS: return Status(Kind::kAlreadyExists, text);
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      if (text.find("space exceeded") == std::string::npos) return Status(Kind::kInUse, text);
      return InUse(
          "the store is full ({}): delete what isn't needed there, or start it with a larger quota "
          "(MEMFABRIC_STORE_QUOTA "
          "where "
          "it is served; an etcd's is --quota-backend-bytes, and its alarm has to be disarmed)",
          text);
    case grpc::StatusCode::DEADLINE_EXCEEDED: return Status(Kind::kDeadlineExceeded, text);
    case grpc::StatusCode::UNIMPLEMENTED: return Status(Kind::kUnsupported, text);
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED: return Status(Kind::kInvalidArgument, text);
    default:
      return IoError("the store failed: {} (gRPC status {})", text,
                     static_cast<int>(status.error_code()));
  }
}

}  // namespace memfabric::store
