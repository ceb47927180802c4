// base/log.h: the process's log. Lines with time, level, pid and rank, to stderr or to the user's
// logger.
//
// LOG(kWarn, "peer {} left the pool {}", rank, id) formats only when the level is on. INFO once per
// object's life, never per transfer; an error is returned or logged, never both.
//
// The log is global on purpose: every thread and every folder writes to the same sink, and it works
// before anything else is built.
//
// Threads: any. The sink is called on the thread that logs, with no lock of the log's held. After
// fork() the child logs on with its own pid.

#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <functional>
#include <string>

namespace memfabric {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarn = 2, kError = 3, kOff = 4 };

using LogSink = std::function<void(LogLevel, const std::string&)>;

namespace log {

bool Enabled(LogLevel level);
void Write(LogLevel level, const std::string& message);

LogLevel Level();
void SetLevel(LogLevel level);
// Replaces the default sink (stderr); an empty function restores it.
void SetSink(LogSink sink);
// What lines of this process name as its rank; -1 for none.
void SetRank(std::int64_t rank);
// REQUIRES: called in a child right after fork(). Locks that the parent's threads held are
// forgotten; level and sink stay.
void ResetAfterFork();

}  // namespace log
}  // namespace memfabric

#define LOG(level, ...)                                                                \
  do {                                                                                 \
    if (::memfabric::log::Enabled(::memfabric::LogLevel::level))                       \
      ::memfabric::log::Write(::memfabric::LogLevel::level, fmt::format(__VA_ARGS__)); \
  } while (false)

// Ends the process when our own reasoning was wrong: going on would corrupt somebody's memory.
#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) ::memfabric::log::CheckFailed(#condition, __FILE__, __LINE__); \
  } while (false)

namespace memfabric::log {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}
