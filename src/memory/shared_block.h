// memory/shared_block.h: memory that processes of this host can map (mf.alloc, smem_trans_malloc):
// each block is a sealed memfd of its own, mapped here at any address.
//
// Blocks live as long as anybody refers to one: the user, until Free; registrations in it; a
// message that carries its file.
//
// Owner: the library. Threads: any; one mutex.

#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>

#include "base/fd.h"
#include "base/mapping.h"
#include "base/mutex.h"
#include "base/status.h"

namespace memfabric {

struct SharedBlock {
  std::uint64_t id = 0;  // of the process; never used twice
  UniqueFd file;
  Mapping mapping;

  std::uint64_t begin() const { return reinterpret_cast<std::uintptr_t>(mapping.data()); }
  std::uint64_t end() const { return begin() + mapping.size_bytes(); }
};
using SharedBlockPtr = std::shared_ptr<const SharedBlock>;  // shared: see above

class SharedBlocks {
 public:
  // Zeros, backed when they are first touched. InvalidArgument: size 0. OutOfMemory: the machine or
  // a limit refuses.
  Result<std::byte*> Allocate(std::uint64_t size_bytes);
  // NotFound: no block begins there.
  Status Free(std::uint64_t address);
  // The block that holds all of the range; null for none.
  SharedBlockPtr Find(std::uint64_t address, std::uint64_t size_bytes) const;

 private:
  mutable Mutex mutex_;
  std::map<std::uint64_t, SharedBlockPtr> blocks_ GUARDED_BY(mutex_);  // by address
  std::uint64_t last_id_ GUARDED_BY(mutex_) = 0;
};

}  // namespace memfabric
