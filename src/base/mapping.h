// base/mapping.h: a range of this process's address space that unmaps itself. One owner, one thread
// at a time.

#pragma once

#include <cstddef>
#include <utility>

namespace memfabric {

class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, std::size_t size_bytes)
      : address_(static_cast<std::byte*>(address)), size_bytes_(size_bytes) {}
  ~Mapping() { Unmap(); }
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      Unmap();
      address_ = std::exchange(other.address_, nullptr);
      size_bytes_ = std::exchange(other.size_bytes_, 0);
    }
    return *this;
  }

  std::byte* data() const { return address_; }
  std::size_t size_bytes() const { return size_bytes_; }
  explicit operator bool() const { return address_ != nullptr; }
  void Unmap();

  // `size_bytes` of a file from its begin, shared, at any address, left out of core dumps. Empty
  // when the kernel refuses; errno says why. `protection` as of mmap(2).
  static Mapping Share(int file, std::size_t size_bytes, int protection);

 private:
  std::byte* address_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace memfabric
