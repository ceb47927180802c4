// tests/cluster/become.h: a rank that goes on as another user, as if that had started it.

#pragma once

#include <grp.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace memfabric::cluster {

// 0, or 1 where only root may. REQUIRES: no other thread yet.
inline int Become(unsigned user) {
  if (::setgroups(0, nullptr) != 0 || ::setresgid(user, user, user) != 0 ||
      ::setresuid(user, user, user) != 0)
    return 1;
  return ::prctl(PR_SET_DUMPABLE, 1) == 0 ? 0 : 1;  // as after an exec: its /proc is its own
}

}  // namespace memfabric::cluster
