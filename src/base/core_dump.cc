#include "base/core_dump.h"

#include <sys/mman.h>

#include "base/environment.h"

namespace memfabric {

void LeaveOutOfCoreDumps(void* address, std::size_t size_bytes) {
  if (EnvironmentAsks("MEMFABRIC_DUMP_MEMORY")) return;
  (void)::madvise(address, size_bytes, MADV_DONTDUMP);  // a wish, which Linux has known since 3.4
}

}  // namespace memfabric
