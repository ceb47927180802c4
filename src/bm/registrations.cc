#include "bm/registrations.h"

#include <iterator>

namespace memfabric::bm {

Status CheckRegistration(std::uint64_t address, std::uint64_t size_bytes) {
  if (address == 0) return InvalidArgument("addr is null");
  if (size_bytes == 0) return InvalidArgument("size is 0");
  if (address + size_bytes < address)
    return InvalidArgument("addr {:#x} + size {} leaves the 64-bit address space", address,
                           size_bytes);
  return Ok();
}

Status Registrations::Register(std::uint64_t address, std::uint64_t size_bytes) {
  RETURN_IF_ERROR(CheckRegistration(address, size_bytes));
  std::lock_guard lock(mutex_);
  if (auto same = ranges_.find(address); same != ranges_.end() && same->second == size_bytes)
    return Ok();
  auto next = ranges_.lower_bound(address);
  for (auto at : {next, next == ranges_.begin() ? ranges_.end() : std::prev(next)}) {
    if (at == ranges_.end()) continue;
    if (at->first < address + size_bytes && address < at->first + at->second)
      return AlreadyExists(
          "[{:#x}, +{}) overlaps the registration [{:#x}, +{}): unregister that first", address,
          size_bytes, at->first, at->second);
  }
  ranges_.emplace(address, size_bytes);
  return Ok();
}

Status Registrations::Deregister(std::uint64_t address) {
  std::lock_guard lock(mutex_);
  if (ranges_.erase(address) == 0) return NotFound("no registration begins at {:#x}", address);
  return Ok();
}

}  // namespace memfabric::bm
