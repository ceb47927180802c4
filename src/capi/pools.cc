#include "capi/pools.h"

namespace memfabric::capi {

Status Pools::Take(std::uint32_t id) {
  if (id >= places_.size()) return InvalidArgument("id is {}; it must be from 0 to {}", id, places_.size() - 1);
  std::lock_guard lock(mutex_);
  if (places_[id].taken)
    return AlreadyExists("this process has a pool with id {} already: destroy it first, or take another id", id);
  places_[id].taken = true;
  return Ok();
}

void Pools::Free(std::uint32_t id) {
  std::lock_guard lock(mutex_);
  places_[id].taken = false;
}

Pools::Handle Pools::Put(std::uint32_t id, std::shared_ptr<bm::Pool> pool) {
  std::lock_guard lock(mutex_);
  Place& place = places_[id];
  place.owner = std::move(pool);
  place.pool.store(place.owner.get(), std::memory_order_release);
  Handle handle = (++place.generation << 8) | (id + 1);
  place.handle.store(handle, std::memory_order_release);
  return handle;
}

Result<std::shared_ptr<bm::Pool>> Pools::Find(Handle handle) {
  std::uint64_t index = (handle & kIdMask) - 1;
  if (index >= places_.size()) return Unknown(handle);
  std::lock_guard lock(mutex_);
  if (places_[index].handle.load(std::memory_order_relaxed) != handle) return Unknown(handle);
  return places_[index].owner;
}

Status Pools::Remove(Handle handle) {
  std::uint64_t index = (handle & kIdMask) - 1;
  if (index >= places_.size()) return Unknown(handle);
  Place& place = places_[index];
  Handle expected = handle;
  if (!place.handle.compare_exchange_strong(expected, 0)) return Unknown(handle);
  place.gate.Synchronize();
  std::shared_ptr<bm::Pool> owner;
  {
    std::lock_guard lock(mutex_);
    owner = std::move(place.owner);
    place.pool.store(nullptr, std::memory_order_release);
  }
  owner->Close();
  owner.reset();
  Free(static_cast<std::uint32_t>(index));
  return Ok();
}

std::vector<Pools::Handle> Pools::All() {
  std::lock_guard lock(mutex_);
  std::vector<Handle> handles;
  for (auto& place : places_) {
    if (Handle handle = place.handle.load(); handle != 0) handles.push_back(handle);
  }
  return handles;
}

Status Pools::Unknown(Handle handle) {
  if (handle == 0) return InvalidArgument("the pool's handle is null");
  return NotFound("there is no pool with the handle {:#x} (any more): it was destroyed, or Big Memory was uninitialized",
                  handle);
}

}  // namespace memfabric::capi
