// store/client/connection.h: one channel to one endpoint, with the calls and streams on it. Ends
// for good at its first failure; the client then makes another, so that gRPC's own back-off (at
// least 100 ms, growing) never applies.
//
// Shared by the client and by what is in flight on it. Threads: any; completions run on the
// client's IoThread, without locks held.

#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/url.h"
#include "store/client/io_thread.h"
#include "store/client/tunnel.h"
#include "store/proto/rpc.grpc.pb.h"

namespace memfabric::store {

class StoreConnection final : public std::enable_shared_from_this<StoreConnection> {
 public:
  template <typename Response>
  using Done = std::function<void(const grpc::Status&, const Response&)>;
  template <typename Stub, typename Request, typename Response>
  using Call = std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> (Stub::*)(
      grpc::ClientContext*, const Request&, grpc::CompletionQueue*);

  // Connects at the first call, with TLS at once. `connect_timeout`: how long the handshakes may
  // take. `tls`: null for none.
  StoreConnection(IoThread& io, const HostPort& endpoint, std::chrono::milliseconds connect_timeout,
                  std::shared_ptr<const TlsCredentials> tls);
  ~StoreConnection();

  const HostPort& endpoint() const { return endpoint_; }
  TimePoint last_heard() const;  // when the server's last answer came

  // How it failed, in a few words, and whether it would fail in the same way again: what answers
  // isn't a store, or refuses us.
  struct Failure {
    std::string text;
    bool refusal = false;
  };
  Failure Explain(const grpc::Status& status) const;

  // Starts a call; `done` runs once, on the IoThread. False, and nothing happens, when the
  // connection was cancelled before.
  template <typename Stub, typename Request, typename Response>
  [[nodiscard]] bool Start(Call<Stub, Request, Response> call, const Request& request,
                           Deadline deadline, Done<Response> done) {
    SignalsBlocked blocked;  // gRPC may start a thread
    struct Unary {
      grpc::ClientContext context;
      Response response;
      grpc::Status status;
      std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
    };
    auto unary = std::make_shared<Unary>();
    SetDeadline(deadline, &unary->context);
    auto finish = [self = shared_from_this(), unary, done](bool) {
      self->Forget(&unary->context, unary->status.ok());
      done(unary->status, unary->response);
    };
    // Before the call is made: one that is made and never started leaks its request.
    void* tag = Register(&unary->context, finish);
    if (tag == nullptr) return false;
    unary->reader = (stub<Stub>().*call)(&unary->context, request, io_.queue());
    unary->reader->StartCall();
    unary->reader->Finish(&unary->response, &unary->status, tag);
    return true;
  }

  // Ends all that is in flight; what is started later fails at once.
  void Cancel();

 private:
  template <typename Request, typename Response>
  friend class CallStream;

  static void SetDeadline(Deadline deadline, grpc::ClientContext* context);
  // The tag for a new call's first operation; null after Cancel.
  void* Register(grpc::ClientContext* context, std::function<void(bool)> done);
  void Forget(grpc::ClientContext* context, bool heard);
  void Heard();

  template <typename Stub>
  Stub& stub() {
    return *std::get<std::unique_ptr<Stub>>(stubs_);
  }

  IoThread& io_;
  const HostPort endpoint_;
  const std::unique_ptr<Tunnel> tunnel_;  // null without TLS; outlives the channel
  const std::tuple<
      std::unique_ptr<etcdserverpb::KV::Stub>, std::unique_ptr<etcdserverpb::Lease::Stub>,
      std::unique_ptr<etcdserverpb::Watch::Stub>, std::unique_ptr<etcdserverpb::Maintenance::Stub>>
      stubs_;
  mutable Mutex mutex_;
  std::set<grpc::ClientContext*> in_flight_ GUARDED_BY(mutex_);
  bool cancelled_ GUARDED_BY(mutex_) = false;
  TimePoint last_heard_ GUARDED_BY(mutex_){};
};

// A bidirectional stream on a connection. It keeps itself alive until it has ended.
template <typename Request, typename Response>
class CallStream final : public std::enable_shared_from_this<CallStream<Request, Response>> {
 public:
  template <typename Stub>
  using Call = std::unique_ptr<grpc::ClientAsyncReaderWriter<Request, Response>> (Stub::*)(
      grpc::ClientContext*, grpc::CompletionQueue*);
  struct Handler {
    std::function<void(const Response&)> on_response;
    std::function<void(const grpc::Status&)> on_end;  // once
  };

  CallStream(std::shared_ptr<StoreConnection> connection, Handler handler)
      : connection_(std::move(connection)), handler_(std::move(handler)) {}

  // False, and nothing happens, when the connection was cancelled before.
  template <typename Stub>
  [[nodiscard]] bool Open(Call<Stub> call) {
    SignalsBlocked blocked;  // gRPC may start a thread
    auto started = [self = this->shared_from_this()](bool ok) {
      if (!ok) return self->Finish();
      self->Read();
      MutexLock lock(self->mutex_);
      self->open_ = true;
      self->WriteNext();
    };
    // Made before it is registered: from then on Cancel may use the context.
    stream_ = (connection_->stub<Stub>().*call)(&context_, connection_->io_.queue());
    void* tag = connection_->Register(&context_, started);
    if (tag == nullptr) return false;
    stream_->StartCall(tag);
    return true;
  }

  // Queues a request; dropped when the stream has ended.
  void Send(Request request) {
    MutexLock lock(mutex_);
    outgoing_.push_back(std::move(request));
    WriteNext();
  }

 private:
  void WriteNext() REQUIRES(mutex_) {
    if (!open_ || writing_ || outgoing_.empty()) return;
    writing_ = true;
    stream_->Write(outgoing_.front(),
                   connection_->io_.Tag([self = this->shared_from_this()](bool ok) {
                     MutexLock lock(self->mutex_);
                     self->writing_ = false;
                     self->outgoing_.pop_front();
                     if (ok) self->WriteNext();
                   }));
  }

  void Read() {
    stream_->Read(&response_, connection_->io_.Tag([self = this->shared_from_this()](bool ok) {
      if (!ok) return self->Finish();
      self->connection_->Heard();
      self->handler_.on_response(self->response_);
      self->Read();
    }));
  }

  void Finish() {
    {
      MutexLock lock(mutex_);
      open_ = false;
    }
    stream_->Finish(&status_, connection_->io_.Tag([self = this->shared_from_this()](bool) {
      self->connection_->Forget(&self->context_, false);
      self->handler_.on_end(self->status_);
    }));
  }

  const std::shared_ptr<StoreConnection> connection_;
  const Handler handler_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<Request, Response>> stream_;
  Response response_;    // the IoThread's
  grpc::Status status_;  // the IoThread's
  Mutex mutex_;
  std::deque<Request> outgoing_ GUARDED_BY(mutex_);
  bool open_ GUARDED_BY(mutex_) = false;
  bool writing_ GUARDED_BY(mutex_) = false;
};

}  // namespace memfabric::store
