// base/thread_limits.h: what may keep this process from having one more thread, in words.
//
// Threads: any.

#pragma once

#include <string>

namespace memfabric {

// "RLIMIT_NPROC is 64 (…), pids.max of cgroup /a is 32, of which 30 are used, …": every limit of
// this process that counts threads or address space, with its value and how to raise it. `root` is
// where /proc and /sys are: "" except in tests.
std::string ThreadLimitsText(const std::string& root = "");

}  // namespace memfabric
