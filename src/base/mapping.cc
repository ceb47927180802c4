#include "base/mapping.h"

#include <sys/mman.h>

#include "base/core_dump.h"

namespace memfabric {

void Mapping::Unmap() {
  if (address_ != nullptr)
    ::munmap(std::exchange(address_, nullptr), std::exchange(size_bytes_, 0));
}

Mapping Mapping::Share(int file, std::size_t size_bytes, int protection) {
  void* address = ::mmap(nullptr, size_bytes, protection, MAP_SHARED, file, 0);
  if (address == MAP_FAILED) return {};
  LeaveOutOfCoreDumps(address, size_bytes);
  return Mapping(address, size_bytes);
}

}  // namespace memfabric
