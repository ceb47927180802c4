// capi/places.h: the handles of a service's objects (Big Memory's pools, Shared Memory's objects).
// A handle is a number, never a pointer that is followed: bits 0-7 the object's id plus one, the
// rest counts the objects that had that id, so that an old handle is recognised.
//
// Calls that must not wait for a lock find their object inside the place's ReadGate (With). Control
// calls share ownership (Find).
//
// Owner: the library. Threads: any.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/read_gate.h"
#include "base/status.h"

namespace memfabric::capi {

template <typename Object, std::uint32_t kCount>
class Places {
 public:
  using Handle = std::uint64_t;  // 0: none

  // What messages call an object ("pool"), its service ("Big Memory") and the function that opens
  // that ("bm.initialize").
  Places(std::string_view kind, std::string_view service, std::string_view opener)
      : kind_(kind), service_(service), opener_(opener) {}

  // Whether the service is initialized: what is said of handles that aren't known.
  void SetOpen(bool open) { open_ = open; }

  Status CheckNotNull(Handle handle) const {
    return handle == 0 ? InvalidArgument("the {}'s handle is null", kind_) : Ok();
  }

  // Takes the id, calls `make(gate)` without a lock, and gives a handle to what it returns. A
  // failure frees the id. AlreadyExists: this process has one with that id.
  template <typename Make>
  Result<Handle> Add(std::uint32_t id, Make&& make) {
    RETURN_IF_ERROR(Take(id));
    auto object = make(places_[id].gate);
    if (!object.ok()) {
      Free(id);
      return std::move(object).status();
    }
    return Put(id, std::move(*object));
  }

  // Calls use(object) inside the gate.
  template <typename Use>
  auto With(Handle handle, Use&& use) -> decltype(use(std::declval<Object&>())) {
    std::uint64_t index = (handle & kIdMask) - 1;
    if (index >= places_.size()) return Unknown(handle);
    Place& place = places_[index];
    ReadGate::Reader inside(place.gate);
    if (place.handle.load(std::memory_order_acquire) != handle) return Unknown(handle);
    return use(*place.object.load(std::memory_order_acquire));
  }

  Result<std::shared_ptr<Object>> Find(Handle handle) {
    std::uint64_t index = (handle & kIdMask) - 1;
    if (index >= places_.size()) return Unknown(handle);
    MutexLock lock(mutex_);
    if (places_[index].handle.load(std::memory_order_relaxed) != handle) return Unknown(handle);
    return owned_[index].object;
  }

  // Ends the object: nobody finds it any more, whoever is inside leaves first (and is asked to, if
  // the object can ask: its StopWaits). NotFound: no such object.
  Status Remove(Handle handle) {
    std::uint64_t index = (handle & kIdMask) - 1;
    if (index >= places_.size()) return Unknown(handle);
    Place& place = places_[index];
    Handle expected = handle;
    if (!place.handle.compare_exchange_strong(expected, 0)) return Unknown(handle);
    if constexpr (requires(Object & object) { object.StopWaits(); })
      place.object.load()->StopWaits();
    place.gate.Synchronize();
    std::shared_ptr<Object> owner;
    {
      MutexLock lock(mutex_);
      owner = std::move(owned_[index].object);
      place.object.store(nullptr, std::memory_order_release);
    }
    owner->Close();
    owner.reset();
    Free(static_cast<std::uint32_t>(index));
    return Ok();
  }

  std::vector<Handle> All() {
    MutexLock lock(mutex_);
    std::vector<Handle> handles;
    for (auto& place : places_) {
      if (Handle handle = place.handle.load(); handle != 0) handles.push_back(handle);
    }
    return handles;
  }

 private:
  static constexpr std::uint64_t kIdMask = 0xff;

  struct Place {
    ReadGate gate;
    std::atomic<Handle> handle{0};
    // valid inside the gate while `handle` is the one asked for
    std::atomic<Object*> object{nullptr};
  };
  struct Owned {
    bool taken = false;
    std::uint64_t generation = 0;
    std::shared_ptr<Object> object;
  };

  Status Take(std::uint32_t id) {
    if (id >= places_.size())
      return InvalidArgument("id is {}; it must be from 0 to {}", id, places_.size() - 1);
    MutexLock lock(mutex_);
    if (owned_[id].taken)
      return AlreadyExists(
          "this process has {} with id {} already: destroy it first, or take another id",
          WithArticle(), id);
    owned_[id].taken = true;
    return Ok();
  }

  void Free(std::uint32_t id) {
    MutexLock lock(mutex_);
    owned_[id].taken = false;
  }

  Handle Put(std::uint32_t id, std::shared_ptr<Object> object) {
    MutexLock lock(mutex_);
    Place& place = places_[id];
    Owned& owned = owned_[id];
    owned.object = std::move(object);
    place.object.store(owned.object.get(), std::memory_order_release);
    Handle handle = (++owned.generation << 8) | (id + 1);
    place.handle.store(handle, std::memory_order_release);
    return handle;
  }

  Status Unknown(Handle handle) const {
    RETURN_IF_ERROR(CheckNotNull(handle));
    if (!open_) return NotInitialized("{} is not initialized: call {} first", service_, opener_);
    return NotFound(
        "there is no {} with the handle {:#x} (any more): it was destroyed, or {} was "
        "uninitialized",
        kind_, handle, service_);
  }
  std::string WithArticle() const {
    return fmt::format("{} {}", kind_.starts_with('o') ? "an" : "a", kind_);
  }

  const std::string_view kind_;
  const std::string_view service_;
  const std::string_view opener_;
  std::atomic<bool> open_{false};
  std::array<Place, kCount> places_;
  Mutex mutex_;
  std::array<Owned, kCount> owned_ GUARDED_BY(mutex_);  // by id, as places_
};

}  // namespace memfabric::capi
