// tests/bm/local_rank.h: a rank with everything that a process has (runtime, session, pools), of
// which one process has several.
//
// Their pools' addresses are numbers only, because windows of several ranks can't lie at one place
// of one process. Threads: any; Destroy must not race with itself.

#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/read_gate.h"
#include "bm/service.h"
#include "runtime/runtime.h"
#include "store/embedded/server.h"
#include "transport/fake/fake_transport.h"

namespace memfabric::bm {

constexpr std::uint64_t kSlotBytes = 2_MiB;

class LocalRank {
 public:
  // `transport`: "mapped" or "fake".
  static std::unique_ptr<LocalRank> Start(const std::string& store_url, Rank rank,
                                          std::uint32_t world_size, const std::string& transport);
  ~LocalRank();

  // Pool 0, to which each rank gives kSlotBytes of host memory. REQUIRES: there is none.
  Status Create();
  Status Join();
  Status Leave();
  // As smem_bm_destroy does it, also while others call what is below.
  void Destroy();

  // NotFound when there is no pool.
  Status Put(Rank to, std::uint64_t offset, std::span<const std::byte> bytes,
             bool asynchronous = false);
  Status Get(Rank from, std::uint64_t offset, std::span<std::byte> bytes);
  Status Use(const std::function<Status(Pool&)>& call);  // holding the pool, outside the gate
  // The pool's own counts of a rank and path; zeros when it has none.
  copy::PathCounts Stats(Rank rank, const std::string& path);

  transport::FakeFaults& faults() { return faults_; }

 private:
  Status Copy(const std::function<copy::CopyRequest(const Pool&)>& request, bool asynchronous);

  transport::FakeFaults faults_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Service> service_;
  ReadGate gate_;
  std::atomic<Pool*> pool_{nullptr};
  std::mutex mutex_;
  std::shared_ptr<Pool> owner_;  // guarded by mutex_
};

// A store in this process, and `count` ranks at it that have joined pool 0.
struct LocalJob {
  LocalJob(int count, const std::string& transport);
  LocalRank& operator[](int rank) { return *ranks[rank]; }

  std::unique_ptr<store::EmbeddedServer> store;
  std::vector<std::unique_ptr<LocalRank>> ranks;
};

}  // namespace memfabric::bm
