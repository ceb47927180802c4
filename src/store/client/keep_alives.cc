#include "store/client/keep_alives.h"

#include <algorithm>
#include <utility>

#include "base/mutex.h"

namespace memfabric::store {

bool KeepAlives::Send(std::int64_t lease, Done done) {
  MutexLock lock(mutex_);
  if (stream_ == nullptr) {
    auto stream = std::make_shared<KeepAliveStream>(
        connection_,
        KeepAliveStream::Handler{
            .on_response =
                [self = shared_from_this()](const auto& response) { self->OnResponse(response); },
            .on_end = [self = shared_from_this()](const auto& status) { self->OnEnd(status); }});
    if (!stream->Open(&etcdserverpb::Lease::Stub::PrepareAsyncLeaseKeepAlive)) return false;
    stream_ = std::move(stream);
  }
  waiters_.push_back({lease, std::move(done)});
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(lease);
  stream_->Send(std::move(request));
  return true;
}

void KeepAlives::OnResponse(const etcdserverpb::LeaseKeepAliveResponse& response) {
  MutexLock lock(mutex_);
  auto waiter = std::ranges::find(waiters_, response.id(), &Waiter::lease);
  if (waiter == waiters_.end()) return;
  auto done = std::move(waiter->done);
  waiters_.erase(waiter);
  lock.Unlock();
  done(grpc::Status::OK, response);
}

void KeepAlives::OnEnd(const grpc::Status& status) {
  std::deque<Waiter> waiters;
  {
    MutexLock lock(mutex_);
    stream_.reset();  // it holds us; the next request opens another, if the connection still stands
    waiters.swap(waiters_);
  }
  // A stream that the server ends in good order has carried out nothing of these either.
  grpc::Status why =
      status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server ended the stream")
                  : status;
  for (auto& waiter : waiters) waiter.done(why, {});
}

}  // namespace memfabric::store
