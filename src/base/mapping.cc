#include "base/mapping.h"

#include <sys/mman.h>

namespace memfabric {

void Mapping::Unmap() {
  if (address_ != nullptr) ::munmap(std::exchange(address_, nullptr), std::exchange(size_bytes_, 0));
}

}  // namespace memfabric
