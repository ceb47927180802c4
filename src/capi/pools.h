// capi/pools.h: the handles of Big Memory's pools. A handle is a number, never a pointer that is followed: bits 0-7 the pool's
// id plus one, the rest counts the pools that had that id, so that an old handle is recognised.
//
// Copies and look-ups find their pool inside the place's ReadGate without a lock (With). Control calls share ownership (Find).
//
// Owner: the library. Threads: any.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/read_gate.h"
#include "base/status.h"
#include "bm/pool.h"

namespace memfabric::capi {

class Pools {
 public:
  using Handle = std::uint64_t;  // 0: none

  // Takes the id, calls `make(gate)` without a lock, and gives a handle to what it returns. A failure frees the id.
  // AlreadyExists: this process has a pool with that id.
  template <typename Make>
  Result<Handle> Add(std::uint32_t id, Make&& make) {
    RETURN_IF_ERROR(Take(id));
    auto pool = make(places_[id].gate);
    if (!pool.ok()) {
      Free(id);
      return std::move(pool).status();
    }
    return Put(id, std::move(*pool));
  }

  // Calls use(pool) inside the gate.
  template <typename Use>
  auto With(Handle handle, Use&& use) -> decltype(use(std::declval<bm::Pool&>())) {
    std::uint64_t index = (handle & kIdMask) - 1;
    if (index >= places_.size()) return Unknown(handle);
    Place& place = places_[index];
    ReadGate::Reader inside(place.gate);
    if (place.handle.load(std::memory_order_acquire) != handle) return Unknown(handle);
    return use(*place.pool.load(std::memory_order_acquire));
  }

  Result<std::shared_ptr<bm::Pool>> Find(Handle handle);

  // Ends the pool: nobody finds it any more, whoever is inside leaves first. NotFound: no such pool.
  Status Remove(Handle handle);
  std::vector<Handle> All();

 private:
  static constexpr std::uint64_t kIdMask = 0xff;

  struct Place {
    ReadGate gate;
    std::atomic<Handle> handle{0};
    std::atomic<bm::Pool*> pool{nullptr};  // valid inside the gate while `handle` is the one asked for
    // What follows: guarded by mutex_.
    bool taken = false;
    std::uint64_t generation = 0;
    std::shared_ptr<bm::Pool> owner;
  };

  Status Take(std::uint32_t id);
  void Free(std::uint32_t id);
  Handle Put(std::uint32_t id, std::shared_ptr<bm::Pool> pool);
  static Status Unknown(Handle handle);

  std::mutex mutex_;
  std::array<Place, bm::kPools> places_;
};

}  // namespace memfabric::capi
