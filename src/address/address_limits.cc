#include "address/address_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "address/process_maps.h"
#include "base/units.h"

namespace memfabric {
namespace {

// What this process has mapped in all, the number that RLIMIT_AS bounds.
std::uint64_t MappedBytes() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

Status ExplainMapFailure(std::string_view what, std::uint64_t size_bytes, int error_number) {
  std::string text = fmt::format("{}: {}", what, ErrnoText(error_number));
  if (error_number != ENOMEM) return IoError("{}", text);
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    std::uint64_t mapped = MappedBytes();
    std::uint64_t room = limit.rlim_cur > mapped ? limit.rlim_cur - mapped : 0;
    if (size_bytes > room)
      return OutOfMemory(
          "{}: RLIMIT_AS is {} and the process has {} mapped, which leaves {} of {}: raise it "
          "(ulimit -v unlimited)",
          text, SizeText(limit.rlim_cur), SizeText(mapped), SizeText(room), SizeText(size_bytes));
  }
  std::uint64_t max_mappings = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> max_mappings;
  auto mappings = CountProcessMappings();
  if (mappings.ok() && max_mappings > 0 && *mappings + 2 >= max_mappings)
    return OutOfMemory(
        "{}: the process has {} mappings and vm.max_map_count is {}: raise it (sysctl "
        "vm.max_map_count)",
        text, *mappings, max_mappings);
  return OutOfMemory(
      "{}: the range of {} leaves the process's address space, or the kernel has no memory", text,
      SizeText(size_bytes));
}

}  // namespace memfabric
