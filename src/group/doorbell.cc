#include "group/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace memfabric::group {

// Not FUTEX_PRIVATE_FLAG: the word is in memory that several processes have mapped.

void WakeSleepers(Doorbell& bell) {
  bell.rings.fetch_add(1, std::memory_order_seq_cst);
  ::syscall(SYS_futex, &bell.rings, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void SleepAt(Doorbell& bell, std::uint32_t rings, std::chrono::nanoseconds at_most) {
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at_most);
  timespec timeout{static_cast<time_t>(seconds.count()),
                   static_cast<long>((at_most - seconds).count())};
  ::syscall(SYS_futex, &bell.rings, FUTEX_WAIT, rings, &timeout, nullptr, 0);
}

}  // namespace memfabric::group
