// capi/failure_log.h: what the log says, at level warn, of the failures that public functions
// return: programs that look at no code, or print it alone, leave a trace.
//
// Threads: any.

#pragma once

#include <string_view>

namespace memfabric::capi {

// A line with this thread's last error.
void LogFailure(const char* function) noexcept;

// The same for what programs do by the thousand: the first failure of `function` with its code that
// concerns `subject` (a peer), then at most one a second; that line says how many were left out.
void LogFrequentFailure(const char* function, std::string_view subject) noexcept;

}  // namespace memfabric::capi
