// capi/failure_log.h: a line in the log, at level warn, for each failure that a public function
// returns. So a program that ignores the code, or prints nothing else, leaves a trace.
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
