// base/last_error.h: each thread's last failure, as the C ABI reports it. Written by capi/ only;
// success doesn't reset it.

#pragma once

#include <cstdint>
#include <string>

namespace memfabric {

struct LastError {
  std::int32_t code = 0;
  std::string message;
};

// This thread's own. Valid until the thread ends.
LastError& ThisThreadsLastError();

}  // namespace memfabric
