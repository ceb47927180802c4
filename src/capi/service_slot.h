// capi/service_slot.h: the place of one service in the library: opened once, used by many calls,
// closed while they run.
//
// Calls hold the service open while they run (With); Close makes those that wait end early and then
// waits for them.
//
// Owner: the library, which opens one at a time. Threads: any.

#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "base/url.h"
#include "base/wait.h"

namespace memfabric::capi {

template <typename Service>
class ServiceSlot {
 public:
  // `name` is for messages, with the function that opens it: "Shared Memory", "shm.initialize".
  ServiceSlot(const char* name, const char* opener) : name_(name), opener_(opener) {}

  // Whether it is open with these options already; RepeatCall: with others.
  template <typename Options>
  Result<bool> IsOpenAs(const Options& options) {
    ReaderLock use(use_);
    if (service_ == nullptr) return false;
    if (service_->options() == options) return true;
    return RepeatCall(
        "{} is initialized already, with other arguments (store_url {}, world_size {}): "
        "uninitialize it first",
        name_, service_->options().store_url, service_->options().world_size);
  }
  void Put(std::unique_ptr<Service> service) {
    WriterLock use(use_);
    service_ = std::move(service);
  }
  bool Serves(const StoreUrl& url) {
    ReaderLock use(use_);
    return service_ != nullptr && service_->Serves(url);
  }
  bool IsOpen() {
    ReaderLock use(use_);
    return service_ != nullptr;
  }

  // Calls use(service), which may wait, with the service held open.
  template <typename Call>
  auto With(Call&& call) -> decltype(call(std::declval<Service&>())) {
    ReaderLock use(use_);
    if (service_ == nullptr || closing_)
      return NotInitialized("{} is not initialized: call {} first", name_, opener_);
    CancelScope scope(closing_);
    auto result = call(*service_);
    if (closing_ && IsInterrupted(StatusOf(result)))
      return NotInitialized("{} was uninitialized while the call ran", name_);
    return result;
  }

  // `end_objects` ends all that the service has made; called twice, as something may be made while
  // the first call runs.
  template <typename EndObjects>
  void Close(EndObjects&& end_objects) {
    if (!IsOpen()) return;
    closing_ = true;  // calls that wait end now
    end_objects();
    WriterLock use(use_);
    end_objects();
    service_.reset();
    closing_ = false;
  }

 private:
  static const Status& StatusOf(const Status& status) { return status; }
  template <typename T>
  static const Status& StatusOf(const Result<T>& result) {
    return result.status();
  }

  const char* const name_;
  const char* const opener_;
  SharedMutex use_;  // shared: service_ is in use. Exclusive: it is made or ended
  std::atomic<bool> closing_{false};
  std::unique_ptr<Service> service_ GUARDED_BY(use_);
};

}  // namespace memfabric::capi
