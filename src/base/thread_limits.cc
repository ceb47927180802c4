#include "base/thread_limits.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cgroups.h"
#include "base/units.h"

namespace memfabric {

std::string ThreadLimitsText(const std::string& root) {
  std::string text;
  auto add = [&text](const std::string& limit) { text += (text.empty() ? "" : ", ") + limit; };
  rlimit limit{};
  if (::getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    add(fmt::format("RLIMIT_NPROC is {} for all threads of uid {} (raise ulimit -u)",
                    limit.rlim_cur, ::getuid()));
  for (const Cgroup& group : CgroupsOf("pids", root)) {
    auto most = ReadNumber(group.folder + "pids.max");
    auto used = ReadNumber(group.folder + "pids.current");
    if (most && used)
      add(fmt::format(
          "pids.max of cgroup {} is {}, of which {} are used (give the container or service more)",
          group.name, *most, *used));
  }
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    auto pages = ReadNumber(root + "/proc/self/statm");
    auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    add(fmt::format("RLIMIT_AS is {}, of which {} are used (raise ulimit -v)",
                    SizeText(limit.rlim_cur), SizeText(pages.value_or(0) * page_bytes)));
  }
  if (auto most = ReadNumber(root + "/proc/sys/kernel/threads-max"))
    add(fmt::format("kernel.threads-max is {}", *most));
  return text;
}

}  // namespace memfabric
