#include "base/headroom.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cerrno>
#include <latch>
#include <vector>

#include "base/descriptor_limit.h"
#include "base/fd.h"
#include "base/thread.h"
#include "base/thread_limits.h"
#include "base/units.h"

namespace memfabric {
namespace {

Status CheckDescriptors(unsigned needed, std::string_view purpose) {
  std::vector<UniqueFd> taken;
  while (taken.size() < needed) {
    taken.emplace_back(::eventfd(0, EFD_CLOEXEC));
    if (taken.back()) continue;
    const int error = errno;
    const auto got = taken.size() - 1;
    taken.clear();
    return OutOfMemory("{} needs {} file descriptors, and {} are to be had: {}; {}", purpose,
                       needed, got, ErrnoText(error), DescriptorLimitText());
  }
  return Ok();
}

}  // namespace

Status CheckHeadroom(const Headroom& needed, std::string_view purpose) {
  RETURN_IF_ERROR(CheckDescriptors(needed.descriptors, purpose));
  void* address = nullptr;
  if (needed.address_bytes != 0) {
    address = ::mmap(nullptr, needed.address_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (const int error = errno; address == MAP_FAILED)
      return OutOfMemory("{} needs {} of address space and {} threads: {}; {}", purpose,
                         SizeText(needed.address_bytes), needed.threads, ErrnoText(error),
                         ThreadLimitsText());
  }
  Status status;
  {
    std::latch end(1);
    std::vector<Thread> threads;
    while (threads.size() < needed.threads) {
      auto thread = Thread::Start(
          "mf-probe", [&end] { end.wait(); }, Thread::Stack::kTheUsers);
      if (!thread.ok()) {
        status = OutOfMemory("{} needs {} more threads, and {} are to be had: {}", purpose,
                             needed.threads, threads.size(), thread.status().message());
        break;
      }
      threads.push_back(std::move(*thread));
    }
    end.count_down();
  }
  if (address != nullptr) ::munmap(address, needed.address_bytes);
  return status;
}

}  // namespace memfabric
