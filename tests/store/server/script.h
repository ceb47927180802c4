// tests/store/server/script.h: a list of calls on a store, and the list of its answers as text, to
// hold two stores against each other. What no two stores have in common is left out: their ids and
// terms.

#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "store/server/connection.h"

namespace memfabric::store {

class Script {
 public:
  explicit Script(const HostPort& address) : to_(address) {}

  void Range(const std::string& text) {
    Call(*to_.kv, &etcdserverpb::KV::Stub::Range, Message<etcdserverpb::RangeRequest>(text));
  }
  void Put(const std::string& text) {
    Call(*to_.kv, &etcdserverpb::KV::Stub::Put, Message<etcdserverpb::PutRequest>(text));
  }
  void Delete(const std::string& text) {
    Call(*to_.kv, &etcdserverpb::KV::Stub::DeleteRange,
         Message<etcdserverpb::DeleteRangeRequest>(text));
  }
  void Txn(const std::string& text) {
    Call(*to_.kv, &etcdserverpb::KV::Stub::Txn, Message<etcdserverpb::TxnRequest>(text));
  }
  void Compact(const std::string& text) {
    Call(*to_.kv, &etcdserverpb::KV::Stub::Compact, Message<etcdserverpb::CompactionRequest>(text));
  }
  void Grant(const std::string& text) {
    Call(*to_.lease, &etcdserverpb::Lease::Stub::LeaseGrant,
         Message<etcdserverpb::LeaseGrantRequest>(text));
  }
  void Revoke(const std::string& text) {
    Call(*to_.lease, &etcdserverpb::Lease::Stub::LeaseRevoke,
         Message<etcdserverpb::LeaseRevokeRequest>(text));
  }
  void Leases() {
    Call(*to_.lease, &etcdserverpb::Lease::Stub::LeaseLeases, etcdserverpb::LeaseLeasesRequest());
  }

  // Of what is left only whether it is near to what was granted: time passes.
  void TimeToLive(const std::string& text) {
    BoundedContext context;
    etcdserverpb::LeaseTimeToLiveResponse response;
    const auto request = Message<etcdserverpb::LeaseTimeToLiveRequest>(text);
    const grpc::Status status = to_.lease->LeaseTimeToLive(&context, request, &response);
    const bool near =
        response.ttl() <= response.grantedttl() && response.ttl() >= response.grantedttl() - 3;
    if (near) response.set_ttl(response.grantedttl());
    std::sort(response.mutable_keys()->begin(), response.mutable_keys()->end());
    Write(request, status, response);
  }

  void KeepAlive(const std::vector<std::string>& texts) {
    BoundedContext context;
    auto stream = to_.lease->LeaseKeepAlive(&context);
    for (const std::string& text : texts) {
      const auto request = Message<etcdserverpb::LeaseKeepAliveRequest>(text);
      etcdserverpb::LeaseKeepAliveResponse response;
      const bool answered = stream->Write(request) && stream->Read(&response);
      Write(request, answered ? grpc::Status::OK : grpc::Status::CANCELLED, response);
    }
    stream->WritesDone();
    lines_.push_back("keep-alive ends with " + std::to_string(stream->Finish().error_code()));
  }

  // Sends `texts`, calls `meanwhile` once each created watch has been confirmed, and reads until
  // `count` events and messages without events have come in all; they are written by watch, since
  // only there is their order settled.
  template <typename Meanwhile>
  void Watch(const std::vector<std::string>& texts, int count, Meanwhile meanwhile) {
    BoundedContext context;
    auto stream = to_.watch->Watch(&context);
    std::map<std::int64_t, std::vector<std::string>> by_watch;
    int creations = 0;
    for (const std::string& text : texts) {
      const auto request = Message<etcdserverpb::WatchRequest>(text);
      creations += request.has_create_request() ? 1 : 0;
      stream->Write(request);
    }
    bool acted = false;
    etcdserverpb::WatchResponse response;
    while (count > 0 || !acted) {
      if (creations == 0 && !acted) {
        acted = true;
        meanwhile();
        continue;
      }
      if (!stream->Read(&response)) {
        by_watch[response.watch_id()].push_back("the stream ended");
        break;
      }
      if (response.created()) --creations;
      for (const mvccpb::Event& event : response.events()) {
        by_watch[response.watch_id()].push_back("event " + event.ShortDebugString());
        --count;
      }
      if (response.events_size() > 0) continue;
      if (response.compact_revision() != 0) response.clear_header();
      by_watch[response.watch_id()].push_back(Text(response));
      --count;
    }
    context.TryCancel();
    for (const auto& [id, lines] : by_watch)
      for (const std::string& line : lines)
        lines_.push_back("watch " + std::to_string(id) + ": " + line);
  }
  void Watch(const std::vector<std::string>& texts, int count) {
    Watch(texts, count, [] {});
  }

  const std::vector<std::string>& lines() const { return lines_; }
  Connection& connection() { return to_; }

  template <typename Stub, typename Request, typename Response>
  void Call(Stub& stub,
            grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
            const Request& request) {
    BoundedContext context;
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    Write(request, status, response);
  }

 private:
  template <typename Response>
  static std::string Text(Response response) {
    if (response.has_header()) {
      response.mutable_header()->clear_cluster_id();
      response.mutable_header()->clear_member_id();
      response.mutable_header()->clear_raft_term();
    }
    return response.ShortDebugString();
  }
  template <typename Request, typename Response>
  void Write(const Request& request, const grpc::Status& status, const Response& response) {
    std::string asked = Request::descriptor()->name() + " { " + request.ShortDebugString() + " }";
    if (asked.size() > 2000) asked.resize(2000);
    lines_.push_back(asked + " -> " +
                     (status.ok()
                          ? Text(response)
                          : std::to_string(status.error_code()) + " " + status.error_message()));
  }

  Connection to_;
  std::vector<std::string> lines_;
};

}  // namespace memfabric::store
