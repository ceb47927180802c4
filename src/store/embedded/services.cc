#include "store/embedded/services.h"

#include <grpcpp/alarm.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace memfabric::store {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

grpc::Status ToStatus(Refusal refusal) {
  if (refusal == nullptr) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(refusal->code), std::string(refusal->message)};
}

// Tells the watches once the caller has its answer, so that a put doesn't take longer the more
// watch it.
class AnswerThenTell final : public ServerUnaryReactor {
 public:
  AnswerThenTell(const grpc::Status& status, Core::Readers readers) : readers_(std::move(readers)) {
    Finish(status);
  }

 private:
  void OnDone() override {
    Core::Tell(readers_);
    delete this;  // gRPC's way to end a reactor
  }

  const Core::Readers readers_;
};

// `call` is a call of State's, given the state and the time.
template <typename Call>
ServerUnaryReactor* Answer(Core& core, CallbackServerContext* context, Call call) {
  core.first_requests().Note(*context);
  Refusal refusal = nullptr;
  Core::Readers readers =
      core.Run([&](State& state, TimePoint now) { refusal = call(state, now); });
  const grpc::Status status = ToStatus(refusal);
  if (!readers.empty()) return new AnswerThenTell(status, std::move(readers));
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

// An answer that may be large waits for its turn; a client that doesn't take it within its time
// loses the call.
template <typename Call>
class CountedAnswer final : public ServerUnaryReactor, public AnswerBudget::Waiter {
 public:
  // `call`: as Answer's. `bytes`: of the answer.
  CountedAnswer(Core& core, CallbackServerContext* context, std::size_t bytes, Call call)
      : core_(core),
        bytes_(bytes),
        call_(std::move(call)),
        patience_(std::make_shared<Patience>()) {
    patience_->context = context;
  }

  void Begin() {
    switch (core_.answers().Ask(*this, bytes_)) {
      case AnswerBudget::Turn::kNow: return OnAdmitted();
      case AnswerBudget::Turn::kLater: return;
      case AnswerBudget::Turn::kNever: return Finish(ToStatus(&kTooManyRequests));
    }
  }

 private:
  static constexpr std::chrono::seconds kLeastTime{10};
  static constexpr std::size_t kLeastBytesASecond = 1 << 20;

  struct Patience {
    RecursiveMutex mutex;  // recursive: to cancel a call may end it
    CallbackServerContext* context GUARDED_BY(mutex) = nullptr;
  };

  void OnAdmitted() override {
    admitted_ = true;
    alarm_.Set(std::chrono::system_clock::now() + kLeastTime +
                   std::chrono::seconds(bytes_ / kLeastBytesASecond),
               [patience = patience_](bool has_ended) {
                 RecursiveMutexLock lock(patience->mutex);
                 if (has_ended && patience->context != nullptr) patience->context->TryCancel();
               });
    Refusal refusal = nullptr;
    readers_ = core_.Run([&](State& state, TimePoint now) { refusal = call_(state, now); });
    Finish(ToStatus(refusal));
  }
  void OnCancel() override {
    if (core_.answers().Withdraw(*this)) Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      RecursiveMutexLock lock(patience_->mutex);
      patience_->context = nullptr;
    }
    Core::Tell(readers_);
    if (admitted_) {
      core_.answers().Release(bytes_);
      core_.Freed(2 * bytes_);  // as a message, and as bytes
    }
    delete this;  // gRPC's way to end a reactor
  }

  Core& core_;
  const std::size_t bytes_;
  Call call_;
  const std::shared_ptr<Patience> patience_;  // shared with the alarm, whose call may come late
  grpc::Alarm alarm_;
  bool admitted_ = false;
  Core::Readers readers_;
};

// The same as Answer for a request whose answer may be of any size.
template <typename Request, typename Call>
ServerUnaryReactor* AnswerCounted(Core& core, CallbackServerContext* context,
                                  const Request& request, Call call) {
  std::size_t bytes = 0;
  Core::Tell(core.Run([&](State& state, TimePoint) { bytes = state.kv().AnswerBytes(request); }));
  if (bytes <= AnswerBudget::kSmallBytes) return Answer(core, context, std::move(call));
  core.first_requests().Note(*context);
  auto* answer = new CountedAnswer<Call>(core, context, bytes, std::move(call));
  answer->Begin();
  return answer;
}

class KeepAliveStream final : public grpc::ServerBidiReactor<etcdserverpb::LeaseKeepAliveRequest,
                                                             etcdserverpb::LeaseKeepAliveResponse> {
 public:
  explicit KeepAliveStream(Core& core) : core_(core) { StartRead(&request_); }

 private:
  // One operation at a time: read, write, read, ... The one that fails ends the stream.
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    response_.Clear();
    Core::Tell(core_.Run(
        [&](State& state, TimePoint now) { state.LeaseKeepAlive(request_, now, &response_); }));
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    StartRead(&request_);
  }
  void OnDone() override { delete this; }  // gRPC's way to end a reactor

  Core& core_;
  etcdserverpb::LeaseKeepAliveRequest request_;
  etcdserverpb::LeaseKeepAliveResponse response_;
};

// Whoever took the session (see WatchHub::TakeReady) is the only one that writes; reads go on
// beside it unless the client asks faster than it takes the answers. The stream is finished once it
// has been canceled and nothing is under way.
class WatchStream final
    : public grpc::ServerBidiReactor<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>,
      public WatchSession::Reader {
 public:
  explicit WatchStream(Core& core) : core_(core) {
    Locked([&](State& state) { session_.emplace(state.watches(), *this); });
    StartRead(&request_);
  }

  // REQUIRES: the caller took the session. The stream may be gone when it returns.
  void OnReady() override {
    bool write = false;
    bool finish = false;
    Locked([&](State& state) {
      write = session_->Next(&response_);
      if (write) state.FillHeader(response_.mutable_header());
      finish = MayFinish();
    });
    if (write) StartWrite(&response_);
    if (finish) Finish(grpc::Status::OK);
  }

 private:
  // In all of these gRPC keeps the stream until they return.
  void OnReadDone(bool ok) override {
    bool finish = false;
    const Core::Readers ready = core_.Run([&](State&, TimePoint) {
      if (ok && !canceled_) session_->Handle(request_);
      readable_ = ok;  // a client that has sent all that it wants to goes on watching
      reading_ = ok && !session_->IsFull();
      finish = MayFinish();
      ok = reading_;
    });
    if (ok) StartRead(&request_);
    if (finish) Finish(grpc::Status::OK);
    Core::Tell(ready);
  }

  void OnWriteDone(bool ok) override {
    bool read = false;
    Locked([&](State&) {
      if (!ok) Cancel();
      read = readable_ && !reading_ && !canceled_;
      if (read) reading_ = true;
    });
    if (read) StartRead(&request_);
    OnReady();
  }

  void OnCancel() override {
    bool finish = false;
    Locked([&](State&) {
      Cancel();
      finish = MayFinish();
    });
    if (finish) Finish(grpc::Status::OK);
  }

  void OnDone() override {
    Locked([&](State&) { session_.reset(); });
    delete this;  // gRPC's way to end a reactor
  }

  // For what makes nobody ready.
  template <typename Call>
  void Locked(Call call) {
    Core::Tell(core_.Run([&](State& state, TimePoint) { call(state); }));
  }
  void Cancel() {
    canceled_ = true;
    session_->Close();
  }
  // True once.
  bool MayFinish() {
    if (!canceled_ || reading_ || session_->taken() || finished_) return false;
    return finished_ = true;
  }

  Core& core_;
  etcdserverpb::WatchRequest request_;
  etcdserverpb::WatchResponse response_;
  // By the core's lock:
  std::optional<WatchSession> session_;
  bool readable_ = true;
  bool reading_ = true;
  bool canceled_ = false;
  bool finished_ = false;
};

}  // namespace

ServerUnaryReactor* KvService::Range(CallbackServerContext* context,
                                     const etcdserverpb::RangeRequest* request,
                                     etcdserverpb::RangeResponse* response) {
  return AnswerCounted(core_, context, *request,
                       [=](State& state, TimePoint) { return state.Range(*request, response); });
}

ServerUnaryReactor* KvService::Put(CallbackServerContext* context,
                                   const etcdserverpb::PutRequest* request,
                                   etcdserverpb::PutResponse* response) {
  return Answer(core_, context,
                [=](State& state, TimePoint) { return state.Put(*request, response); });
}

ServerUnaryReactor* KvService::DeleteRange(CallbackServerContext* context,
                                           const etcdserverpb::DeleteRangeRequest* request,
                                           etcdserverpb::DeleteRangeResponse* response) {
  return AnswerCounted(core_, context, *request, [=](State& state, TimePoint) {
    return state.DeleteRange(*request, response);
  });
}

ServerUnaryReactor* KvService::Txn(CallbackServerContext* context,
                                   const etcdserverpb::TxnRequest* request,
                                   etcdserverpb::TxnResponse* response) {
  return AnswerCounted(core_, context, *request,
                       [=](State& state, TimePoint) { return state.Txn(*request, response); });
}

ServerUnaryReactor* KvService::Compact(CallbackServerContext* context,
                                       const etcdserverpb::CompactionRequest* request,
                                       etcdserverpb::CompactionResponse* response) {
  return Answer(core_, context,
                [=](State& state, TimePoint) { return state.Compact(*request, response); });
}

ServerUnaryReactor* LeaseService::LeaseGrant(CallbackServerContext* context,
                                             const etcdserverpb::LeaseGrantRequest* request,
                                             etcdserverpb::LeaseGrantResponse* response) {
  return Answer(core_, context, [=](State& state, TimePoint now) {
    return state.LeaseGrant(*request, now, response);
  });
}

ServerUnaryReactor* LeaseService::LeaseRevoke(CallbackServerContext* context,
                                              const etcdserverpb::LeaseRevokeRequest* request,
                                              etcdserverpb::LeaseRevokeResponse* response) {
  return Answer(core_, context,
                [=](State& state, TimePoint) { return state.LeaseRevoke(*request, response); });
}

grpc::ServerBidiReactor<etcdserverpb::LeaseKeepAliveRequest, etcdserverpb::LeaseKeepAliveResponse>*
LeaseService::LeaseKeepAlive(CallbackServerContext* context) {
  core_.first_requests().Note(*context);
  return new KeepAliveStream(core_);
}

ServerUnaryReactor* LeaseService::LeaseTimeToLive(
    CallbackServerContext* context, const etcdserverpb::LeaseTimeToLiveRequest* request,
    etcdserverpb::LeaseTimeToLiveResponse* response) {
  return Answer(core_, context, [=](State& state, TimePoint now) -> Refusal {
    state.LeaseTimeToLive(*request, now, response);
    return nullptr;
  });
}

ServerUnaryReactor* LeaseService::LeaseLeases(CallbackServerContext* context,
                                              const etcdserverpb::LeaseLeasesRequest*,
                                              etcdserverpb::LeaseLeasesResponse* response) {
  return Answer(core_, context, [=](State& state, TimePoint) -> Refusal {
    state.LeaseLeases(response);
    return nullptr;
  });
}

grpc::ServerBidiReactor<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>*
WatchService::Watch(CallbackServerContext* context) {
  core_.first_requests().Note(*context);
  return new WatchStream(core_);
}

ServerUnaryReactor* ClusterService::MemberList(CallbackServerContext* context,
                                               const etcdserverpb::MemberListRequest*,
                                               etcdserverpb::MemberListResponse* response) {
  return Answer(core_, context, [=](State& state, TimePoint) -> Refusal {
    state.MemberList(response);
    return nullptr;
  });
}

ServerUnaryReactor* MaintenanceService::Alarm(CallbackServerContext* context,
                                              const etcdserverpb::AlarmRequest* request,
                                              etcdserverpb::AlarmResponse* response) {
  return Answer(core_, context, [=](State& state, TimePoint) -> Refusal {
    state.Alarm(*request, response);
    return nullptr;
  });
}

ServerUnaryReactor* MaintenanceService::Status(CallbackServerContext* context,
                                               const etcdserverpb::StatusRequest*,
                                               etcdserverpb::StatusResponse* response) {
  return Answer(core_, context, [=](State& state, TimePoint) -> Refusal {
    state.Status(response);
    return nullptr;
  });
}

}  // namespace memfabric::store
