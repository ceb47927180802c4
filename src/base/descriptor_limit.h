// base/descriptor_limit.h: how many file descriptors this process may have.
//
// Threads: any.

#pragma once

#include <string>

namespace memfabric {

// "RLIMIT_NOFILE of pid 12 is 1024, of which 1024 are in use (raise ulimit -n)"
std::string DescriptorLimitText();

// Raises the soft limit to the hard one, once in a process, unless MEMFABRIC_RAISE_NOFILE=0: a rank
// needs one for each peer. Children inherit the limit; select() can't watch descriptors above 1023.
void RaiseDescriptorLimit();

}  // namespace memfabric
