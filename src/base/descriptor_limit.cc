#include "base/descriptor_limit.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <string_view>
#include <system_error>

#include "base/log.h"
#include "base/status.h"

namespace memfabric {

std::string DescriptorLimitText() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc/self/fd", error);
  // Without a descriptor left the folder can't be read: then all are in use.
  std::string used =
      error ? "all" : fmt::format("{}", std::distance(begin(entries), end(entries)) - 1);
  return fmt::format("RLIMIT_NOFILE of pid {} is {}, of which {} are in use (raise ulimit -n)",
                     ::getpid(), limit.rlim_cur, used);
}

void RaiseDescriptorLimit() {
  static std::once_flag once;
  std::call_once(once, [] {
    const char* wanted = std::getenv("MEMFABRIC_RAISE_NOFILE");
    if (wanted != nullptr && std::string_view(wanted) == "0") return;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
    const rlim_t before = std::exchange(limit.rlim_cur, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
      LOG(kInfo, "RLIMIT_NOFILE stays {}: {}", before, ErrnoText(errno));
      return;
    }
    LOG(kInfo,
        "RLIMIT_NOFILE raised from {} to {}, its hard limit (MEMFABRIC_RAISE_NOFILE=0 leaves it)",
        before, limit.rlim_cur);
  });
}

}  // namespace memfabric
