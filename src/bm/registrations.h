// bm/registrations.h: user memory that was announced for a pool, by range. Copies never need it; a
// path that has to pin or register memory will look here.
//
// Threads: any; one mutex.

#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "base/status.h"

namespace memfabric::bm {

// InvalidArgument: null, empty, or past the end of addresses.
Status CheckRegistration(std::uint64_t address, std::uint64_t size_bytes);

class Registrations {
 public:
  // The same range again: Ok. AlreadyExists: it overlaps another (named). InvalidArgument:
  // CheckRegistration.
  Status Register(std::uint64_t address, std::uint64_t size_bytes);
  // NotFound: none begins there.
  Status Deregister(std::uint64_t address);

 private:
  std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> ranges_;  // begin -> size; they don't overlap
};

}  // namespace memfabric::bm
