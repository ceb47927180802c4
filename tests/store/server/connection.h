// tests/store/server/connection.h: gRPC's own stubs for a store, embedded or a real etcd, and
// requests written as text.

#pragma once

#include <google/protobuf/text_format.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "base/url.h"
#include "store/proto/rpc.grpc.pb.h"

namespace memfabric::store {

constexpr std::chrono::seconds kCallBound{60};  // a call or stream that takes longer has failed

struct Connection {
  // Each connection has a socket of its own.
  explicit Connection(const HostPort& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    channel = grpc::CreateCustomChannel(address.ToString(), grpc::InsecureChannelCredentials(),
                                        arguments);
    kv = etcdserverpb::KV::NewStub(channel);
    watch = etcdserverpb::Watch::NewStub(channel);
    lease = etcdserverpb::Lease::NewStub(channel);
    cluster = etcdserverpb::Cluster::NewStub(channel);
    maintenance = etcdserverpb::Maintenance::NewStub(channel);
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<etcdserverpb::KV::Stub> kv;
  std::unique_ptr<etcdserverpb::Watch::Stub> watch;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease;
  std::unique_ptr<etcdserverpb::Cluster::Stub> cluster;
  std::unique_ptr<etcdserverpb::Maintenance::Stub> maintenance;
};

// A context of its own for each call, with a bound.
struct BoundedContext : grpc::ClientContext {
  BoundedContext() { set_deadline(std::chrono::system_clock::now() + kCallBound); }
};

// Message<PutRequest>("key: 'a' value: '1'")
template <typename T>
T Message(const std::string& text) {
  T message;
  if (!google::protobuf::TextFormat::ParseFromString(text, &message))
    throw std::invalid_argument("no such message: " + text);
  return message;
}

inline grpc::Status Put(Connection& to, const std::string& key, const std::string& value,
                        std::int64_t lease = 0) {
  BoundedContext context;
  etcdserverpb::PutRequest request;
  etcdserverpb::PutResponse response;
  request.set_key(key);
  request.set_value(value);
  request.set_lease(lease);
  return to.kv->Put(&context, request, &response);
}

}  // namespace memfabric::store
