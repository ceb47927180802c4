// memory/registered_memory.h: the memory that this process's user has registered, as seen by
// transports that serve peers' requests. trans/ has the calls that register.
//
// Threads: any.

#pragma once

#include <cstdint>
#include <utility>

#include "base/status.h"

namespace memfabric {

class RegisteredMemory {
 public:
  virtual ~RegisteredMemory() = default;

  // Lets a request touch [address, address + size_bytes) until Release; deregistering any of it
  // returns only after that. InvalidArgument, naming the range: it is not registered as a whole (in
  // one range or in touching ones).
  virtual Status Acquire(std::uint64_t address, std::uint64_t size_bytes) = 0;
  // REQUIRES: Acquire returned Ok for the same range, and this is its only Release.
  virtual void Release(std::uint64_t address, std::uint64_t size_bytes) = 0;
};

// One Acquire, released at the end of its life.
class RegisteredUse {
 public:
  static Result<RegisteredUse> Acquire(RegisteredMemory& memory, std::uint64_t address,
                                       std::uint64_t size_bytes) {
    RETURN_IF_ERROR(memory.Acquire(address, size_bytes));
    return RegisteredUse(&memory, address, size_bytes);
  }
  RegisteredUse() = default;
  RegisteredUse(RegisteredUse&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        address_(other.address_),
        size_bytes_(other.size_bytes_) {}
  RegisteredUse& operator=(RegisteredUse&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(address_, other.address_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~RegisteredUse() {
    if (memory_ != nullptr) memory_->Release(address_, size_bytes_);
  }

 private:
  RegisteredUse(RegisteredMemory* memory, std::uint64_t address, std::uint64_t size_bytes)
      : memory_(memory), address_(address), size_bytes_(size_bytes) {}

  RegisteredMemory* memory_ = nullptr;
  std::uint64_t address_ = 0;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace memfabric
