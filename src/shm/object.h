// shm/object.h: one Shared Memory object as this process holds it: symmetric memory, its ranks, and
// what they do with it.
//
// Life: Create is collective (shm/rendezvous.h): it returns when every rank has mapped every other,
// or nowhere. Close ends this rank's part; the others' goes on without it.
//
// The window: control memory of all ranks, 10 MiB each (group/control.h), then the users' memory,
// `bytes` each, from gva() on. The last 2 MiB below gva() are nobody's control memory: there each
// process has mapped what its own kernels are told (memfabric/smem_shm_device.h).
//
// Owner: the service's table of objects; calls run inside the ReadGate of its place
// (capi/places.h).
// Threads: any. StopWaits and Close: see there.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/read_gate.h"
#include "base/status.h"
#include "base/wait.h"
#include "copy/engine.h"
#include "copy/reach.h"
#include "group/group.h"
#include "memory/segment.h"
#include "runtime/job.h"
#include "runtime/runtime.h"
#include "shm/config.h"
#include "shm/exits.h"
#include "shm/peers.h"
#include "shm/rendezvous.h"
#include "shm/subgroups.h"
#include "transport/detours.h"
#include "transport/transport.h"

namespace memfabric::shm {

// What wait_until compares a cell with, as OpenSHMEM's SHMEM_CMP_*. The values are the C ABI's.
enum class Comparison : std::uint32_t {
  kEqual = 0,
  kNotEqual = 1,
  kGreater = 2,
  kLessOrEqual = 3,
  kLess = 4,
  kGreaterOrEqual = 5,
};
constexpr std::uint32_t kComparisons = 6;

// Memory that stays mapped as long as the view lives.
struct View {
  std::shared_ptr<Window> window;
  std::byte* data = nullptr;
  std::uint64_t size_bytes = 0;
};

// What all creates of a process share.
struct AcrossCreates {
  std::atomic<std::uint64_t> next_base{0};  // where the next window is looked for first
  // The others have given this process up, so what it has published is gone: a create ends with
  // Interrupted, unless all have met.
  std::atomic<bool> away{false};
  ToldFailures told;
};

class Object {
 public:
  // `device_node`: the NUMA node of the process's device.
  static Result<std::shared_ptr<Object>> Create(Job& job, Runtime& runtime, const InitOptions& init,
                                                unsigned device_node, const CreateOptions& options,
                                                AcrossCreates& across);
  ~Object();

  // Ends calls that wait, with NotFound; any thread, at any time.
  void StopWaits();
  // The others had given this process up, and it is back: rank 0 records again where the window
  // lies.
  Status OnReturned();
  // Says goodbye to the others. Idempotent. REQUIRES: nobody is in a call, nor can get into one.
  void Close();

  std::uint32_t id() const { return options_.id; }
  Rank rank() const { return options_.rank; }
  std::uint32_t rank_size() const { return options_.rank_size; }
  std::uint64_t symmetric_bytes() const { return options_.bytes; }
  std::uint64_t gva() const { return layout_.SlotAddress(Zone::kHost, 0).value; }

  Status SetContext(std::span<const std::byte> context);

  // Within operation_timeout; errors as group::Group.
  Status Barrier();
  Status AllGather(std::span<const std::byte> block, std::span<std::byte> gathered);
  // The sub-group of `key`, in which this rank is `rank` of `size`.
  Status SubgroupBarrier(const std::string& key, std::uint32_t size, Rank rank);
  Status SubgroupAllGather(const std::string& key, std::uint32_t size, Rank rank,
                           std::span<const std::byte> block, std::span<std::byte> gathered);

  // Bits of DataOp by which `rank` is reached now; 0: it has gone.
  Result<std::uint32_t> ReachableOps(Rank rank) const;
  Result<std::string> Path(Rank rank) const;
  std::vector<Rank> Live() const { return peers_->Live(); }

  Result<std::uint32_t> AllocateValue(std::uint32_t limit);
  Status ReleaseValue(std::uint32_t value);
  void RegisterExit(Exits::Function function) { exits_->Register(function); }
  Status GlobalExit(int status);

  // `slot_offset` is in the memory of `rank`. InvalidArgument: bad rank, null, size 0, or a range
  // that leaves its memory. Disconnected: it has gone; the range may hold a part. Without
  // `blocking`, Ok says that it was started: `source` must stay as it is until this thread's Quiet.
  Status Put(Rank rank, std::uint64_t slot_offset, const std::byte* source,
             std::uint64_t size_bytes, bool blocking);
  Status Get(Rank rank, std::uint64_t slot_offset, std::byte* destination, std::uint64_t size_bytes,
             bool blocking);
  // The bytes, then kSwap or kFetchAdd of `signal`: whoever sees the signal sees them.
  Status PutSignal(Rank rank, std::uint64_t slot_offset, const std::byte* source,
                   std::uint64_t size_bytes, const transport::AtomicRequest& signal);
  // After this thread's earlier puts to that rank. Sequentially consistent among all atomics on the
  // cell.
  Result<std::uint64_t> Atomic(Rank rank, const transport::AtomicRequest& request);
  // Waits until this rank's own cell compares true; acquires what was written before that.
  // `writer`: whom the wait depends on, kNoRank for anybody. Disconnected: that one (or anybody)
  // died. DeadlineExceeded: operation_timeout.
  Status WaitUntil(std::uint64_t slot_offset, Comparison comparison, std::uint64_t value,
                   Rank writer);
  // This thread's puts before are seen before those after, rank by rank.
  void Fence();
  // This thread's puts and gets before are in place.
  Status Quiet();

  // Unsupported: a rank on another host.
  Result<View> OpenView(Rank rank) const;

 private:
  Object(Job& job, Runtime& runtime, const InitOptions& init, unsigned device_node,
         const CreateOptions& options);
  // Memory and ports, and the others' addresses.
  Result<std::vector<store::ObjectMember>> Meet(Rendezvous& rendezvous, AcrossCreates& across,
                                                Deadline deadline);
  Status Assemble(const std::vector<store::ObjectMember>& members, Rendezvous& rendezvous,
                  Deadline deadline);
  Result<std::uint64_t> ChooseBase(std::span<const AddressSpan> others,
                                   std::atomic<std::uint64_t>& next_base);
  Status MakeMemory();
  Status OpenPorts(std::uint64_t lead, std::uint64_t epoch);
  Status LinkAll(const std::vector<store::ObjectMember>& members, Rendezvous& rendezvous,
                 Deadline deadline);
  Status Link(const std::vector<store::ObjectMember>& members, Rendezvous& rendezvous,
              Deadline deadline);
  // Runs a call that waits.
  template <typename Call>
  auto Cancellable(Call&& call) -> decltype(call());
  Deadline OperationDeadline() const;
  Bound OperationBound() const;  // of what moves bytes
  Status CheckRank(Rank rank) const;
  Status CheckRange(Rank rank, std::uint64_t slot_offset, const void* local,
                    std::uint64_t size_bytes) const;
  std::uint64_t* MappedCell(Rank rank, std::uint64_t slot_offset) const;
  // What lies there, if all is right and as simple as it can be: loads and stores of this thread
  // alone reach it, and `local` is none of the object's memory. Null: ask the engine, which knows
  // every case, and every message.
  std::byte* Plain(Rank rank, std::uint64_t slot_offset, const std::byte* local,
                   std::uint64_t size_bytes) const;
  // What an atomic did at `rank` may have been waited for.
  void RingAt(Rank rank) const;

  Job& job_;
  Runtime& runtime_;
  const InitOptions init_;
  const unsigned device_node_;
  const CreateOptions options_;
  std::string name_;  // of the ports: this creation's alone

  PoolLayout layout_;
  std::shared_ptr<Window> window_;
  std::unique_ptr<Segment> control_;
  std::unique_ptr<Segment> memory_;
  std::unique_ptr<Segment> info_;
  std::unique_ptr<copy::Reach> reach_;
  std::unique_ptr<copy::CopyEngine> engine_;
  std::atomic<bool> failed_{false};  // Create has; ends its waits for links
  std::mutex failure_mutex_;         // guards peers_ while Create builds it and failures come
  std::unique_ptr<ObjectPeers> peers_;
  std::unique_ptr<group::Group> world_;
  std::unique_ptr<Subgroups> subgroups_;
  std::unique_ptr<Exits> exits_;
  transport::Ports ports_;
  transport::Detours detours_;
  bool crowded_ = false;
  std::mutex window_mutex_;       // guards the next
  bool window_recorded_ = false;  // or was, until this process was given up
  bool closed_ = false;
  std::mutex context_mutex_;
  std::atomic<bool> closing_{false};
};

}  // namespace memfabric::shm
