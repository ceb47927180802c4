// shm/service.h: Shared Memory in this process, from initialize to uninitialize: its place in the
// job.
//
// Objects don't depend on the store once they stand: a process that was stopped past its lease
// keeps them.
//
// Owner: capi/library.h. Threads: any.

#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/status.h"
#include "runtime/job.h"
#include "runtime/runtime.h"
#include "shm/config.h"
#include "shm/object.h"

namespace memfabric::shm {

// Bits of DataOp that this machine has.
std::uint32_t SupportedOps(std::span<const std::unique_ptr<transport::Transport>> transports);

class Service final : public JobObserver {
 public:
  // Within init_timeout. `runtime` outlives the service. `tls`: of the process's settings (null:
  // none); shared with connections of others. Errors as smem_shm_init. REQUIRES: Check(options) is
  // Ok.
  static Result<std::unique_ptr<Service>> Open(Runtime& runtime, const InitOptions& options,
                                               std::shared_ptr<const store::TlsCredentials> tls);
  // REQUIRES: all objects are closed and nobody uses one any more.
  ~Service() override;

  const InitOptions& options() const { return options_; }
  bool Serves(const StoreUrl& url) const { return job_->ServesStore() && job_->url() == url; }

  Result<std::shared_ptr<Object>> CreateObject(const CreateOptions& options);

  // JobObserver
  void OnGivenUp(const Status& why) override;
  Status OnReturned() override;
  void OnReplaced(const Status& why) override;

 private:
  Service(Runtime& runtime, const InitOptions& options, Device device)
      : runtime_(runtime), options_(options), device_(std::move(device)) {}
  void SetAway(const Status& why);

  Runtime& runtime_;
  const InitOptions options_;
  const Device device_;
  AcrossCreates across_;
  std::mutex mutex_;           // guards the three below
  Status away_;                // why
  std::uint64_t returns_ = 0;  // times that it came back
  // that stand, or did; weak: their table (capi/places.h) has them
  std::vector<std::weak_ptr<Object>> objects_;
  std::unique_ptr<Job> job_;  // ends first: it calls back
};

}  // namespace memfabric::shm
