#include "base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdlib>
#include <memory>

#include "base/mutex.h"
#include "base/stderr_sink.h"

namespace memfabric::log {
namespace {

constexpr LogLevel kDefaultLevel = LogLevel::kError;

LogLevel LevelFromEnvironment() {
  // docs/contract/python.md §1 and §7: ours wins over the two historic names.
  for (const char* name : {"MEMFABRIC_LOG_LEVEL", "ASCEND_MF_LOG_LEVEL", "MF_LOG_LEVEL"}) {
    const char* text = std::getenv(name);
    if (text != nullptr && text[0] >= '0' && text[0] <= '4' && text[1] == '\0')
      return static_cast<LogLevel>(text[0] - '0');
  }
  return kDefaultLevel;
}

struct State {
  std::atomic<int> level{static_cast<int>(LevelFromEnvironment())};
  std::atomic<std::int64_t> rank{-1};
  Mutex mutex;
  // shared: a line being written keeps its sink while another thread replaces it
  std::shared_ptr<const LogSink> sink GUARDED_BY(mutex);
  spdlog::logger default_logger{"memfabric", std::make_shared<StderrSink>()};

  State() {
    default_logger.set_pattern("%Y-%m-%d %H:%M:%S.%f %L %P %v");
    default_logger.set_level(spdlog::level::trace);
  }
};

std::atomic<State*>& StatePointer() {
  static std::atomic<State*> state{new State};  // never destroyed: threads may log at exit
  return state;
}

State& TheState() { return *StatePointer().load(std::memory_order_acquire); }

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarn: return spdlog::level::warn;
    default: return spdlog::level::err;
  }
}

}  // namespace

bool Enabled(LogLevel level) {
  return static_cast<int>(level) >= TheState().level.load(std::memory_order_relaxed);
}

void Write(LogLevel level, const std::string& message) {
  State& state = TheState();
  std::shared_ptr<const LogSink> sink;
  {
    MutexLock lock(state.mutex);
    sink = state.sink;
  }
  if (sink != nullptr) {
    (*sink)(level, message);
    return;
  }
  auto rank = state.rank.load(std::memory_order_relaxed);
  state.default_logger.log(SpdlogLevel(level), "{} {}",
                           rank < 0 ? std::string("rank -") : fmt::format("rank {}", rank),
                           message);
}

LogLevel Level() { return static_cast<LogLevel>(TheState().level.load(std::memory_order_relaxed)); }

void SetLevel(LogLevel level) {
  TheState().level.store(static_cast<int>(level), std::memory_order_relaxed);
}

void SetSink(LogSink sink) {
  auto shared = sink ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
  State& state = TheState();
  MutexLock lock(state.mutex);
  state.sink.swap(shared);
}

void SetRank(std::int64_t rank) { TheState().rank.store(rank, std::memory_order_relaxed); }

void ResetAfterFork() {
  State& former = TheState();
  auto* fresh = new State;
  fresh->level.store(former.level.load());
  // else another thread of the parent was about to change the sink: the default serves
  if (former.mutex.TryLock()) {
    MutexLock lock(fresh->mutex);
    fresh->sink = former.sink;
    former.mutex.Unlock();
  }
  StatePointer().store(fresh, std::memory_order_release);
}

void CheckFailed(const char* condition, const char* file, int line) {
  Write(LogLevel::kError, fmt::format("{}:{}: CHECK failed: {}", file, line, condition));
  std::abort();
}

}  // namespace memfabric::log
