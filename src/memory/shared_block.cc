#include "memory/shared_block.h"

#include <sys/mman.h>

#include <cerrno>
#include <iterator>

#include "base/mutex.h"
#include "base/units.h"
#include "memory/backing.h"

namespace memfabric {

Result<std::byte*> SharedBlocks::Allocate(std::uint64_t size_bytes) {
  if (size_bytes == 0) return InvalidArgument("size is 0; it must be 1 or more");
  std::uint64_t whole = (size_bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  if (whole < size_bytes || whole > static_cast<std::uint64_t>(INT64_MAX))
    return InvalidArgument("size is {}, more than an address space has", size_bytes);
  ASSIGN_OR_RETURN(auto backing, MakeBacking(whole, /*may_take_huge_pages=*/false));
  Mapping mapping = Mapping::Share(backing.fd.get(), whole, PROT_READ | PROT_WRITE);
  if (!mapping)
    return OutOfMemory("{} of memory can't be mapped: {}", SizeText(whole), ErrnoText(errno));
  // where the machine grants huge pages to shared memory
  (void)::madvise(mapping.data(), whole, MADV_HUGEPAGE);
  auto block = std::make_shared<SharedBlock>();
  block->file = std::move(backing.fd);
  block->mapping = std::move(mapping);
  MutexLock lock(mutex_);
  block->id = ++last_id_;
  std::byte* data = block->mapping.data();
  blocks_.emplace(block->begin(), std::move(block));
  return data;
}

Status SharedBlocks::Free(std::uint64_t address) {
  SharedBlockPtr freed;  // unmapped without the mutex
  MutexLock lock(mutex_);
  auto found = blocks_.find(address);
  if (found == blocks_.end()) return NotFound("no memory of alloc() begins at {:#x}", address);
  freed = std::move(found->second);
  blocks_.erase(found);
  return Ok();
}

SharedBlockPtr SharedBlocks::Find(std::uint64_t address, std::uint64_t size_bytes) const {
  MutexLock lock(mutex_);
  auto after = blocks_.upper_bound(address);
  if (after == blocks_.begin()) return nullptr;
  const SharedBlockPtr& block = std::prev(after)->second;
  return address < block->end() && size_bytes <= block->end() - address ? block : nullptr;
}

}  // namespace memfabric
