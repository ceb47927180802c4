// bm/service.h: Big Memory in this process, from initialize to uninitialize: its place in the job,
// and the pools it has open.
//
// Owner: capi/library.h. Threads: any.

#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/read_gate.h"
#include "base/status.h"
#include "bm/config.h"
#include "bm/pool.h"
#include "runtime/job.h"
#include "runtime/runtime.h"
#include "store/recipes/store_host.h"

namespace memfabric::bm {

class Service final : public JobObserver {
 public:
  // Within init_timeout. `runtime` outlives the service. Errors as smem_bm_init. REQUIRES:
  // Check(options) is Ok. `tls`: of the process's settings (null: none); shared with connections of
  // others.
  static Result<std::unique_ptr<Service>> Open(Runtime& runtime, const InitOptions& options,
                                               std::shared_ptr<const store::TlsCredentials> tls);
  // REQUIRES: all pools are closed and nobody uses one any more.
  ~Service() override;

  const InitOptions& options() const { return options_; }
  // kNoRank: only the store is served
  Rank rank() const { return job_ == nullptr ? kNoRank : job_->rank(); }
  // Whether this process serves a store at `url` for the service's own sake.
  bool Serves(const StoreUrl& url) const;

  Result<std::shared_ptr<Pool>> CreatePool(const CreateOptions& options, ReadGate& gate);
  Status UpdateStoreUrl(const std::string& url);

  // JobObserver
  void OnGivenUp(const Status& why) override;
  Status OnReturned() override;
  void OnReplaced(const Status& why) override;

 private:
  Service(Runtime& runtime, const InitOptions& options, Device device)
      : runtime_(runtime), options_(options), device_(std::move(device)) {}
  std::vector<std::shared_ptr<Pool>> OpenPools();

  Runtime& runtime_;
  const InitOptions options_;
  const Device device_;
  std::unique_ptr<store::StoreHost> store_only_;  // with start_store_only
  std::mutex mutex_;                              // guards the two below
  std::vector<std::weak_ptr<Pool>> pools_;
  std::uint64_t times_given_up_ = 0;
  std::unique_ptr<Job> job_;  // ends first: it calls back
};

}  // namespace memfabric::bm
