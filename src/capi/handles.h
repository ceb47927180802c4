// capi/handles.h: handles of objects that the C interface gives out: numbers that are never used
// twice, so that an old one is recognised, and never pointers that are followed.
//
// Owner: the library. Threads: any.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"

namespace memfabric::capi {

template <typename T>
class Handles {
 public:
  using Handle = std::uint64_t;  // 0: none

  // `what`: "engine". `numbers` is shared by tables whose handles shall not be taken for each
  // other's. `open`: whether there can be any; null: always.
  Handles(const char* what, std::atomic<Handle>& numbers, const std::atomic<bool>* open = nullptr)
      : what_(what), numbers_(numbers), open_(open) {}

  Handle Add(std::shared_ptr<T> object) {
    WriterLock lock(mutex_);
    Handle handle = numbers_.fetch_add(1) + 1;
    objects_.emplace(handle, std::move(object));
    return handle;
  }

  // Shared with the call that uses it.
  Result<std::shared_ptr<T>> Find(Handle handle) const {
    {
      ReaderLock lock(mutex_);
      auto found = objects_.find(handle);
      if (found != objects_.end()) return found->second;
    }
    if (handle == 0) return InvalidArgument("the {}'s handle is null", what_);
    if (open_ != nullptr && !*open_)
      return NotInitialized("there is no {}: the library is not initialized", what_);
    return NotFound("there is no {} with the handle {:#x} (any more): it was destroyed", what_,
                    handle);
  }

  std::shared_ptr<T> Remove(Handle handle) {
    WriterLock lock(mutex_);
    auto found = objects_.find(handle);
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<T> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

  std::vector<std::shared_ptr<T>> RemoveAll() {
    WriterLock lock(mutex_);
    std::vector<std::shared_ptr<T>> objects;
    for (auto& [handle, object] : objects_) objects.push_back(std::move(object));
    objects_.clear();
    return objects;
  }

 private:
  const char* const what_;
  std::atomic<Handle>& numbers_;
  const std::atomic<bool>* const open_;
  mutable SharedMutex mutex_;
  std::unordered_map<Handle, std::shared_ptr<T>> objects_ GUARDED_BY(mutex_);
};

}  // namespace memfabric::capi
