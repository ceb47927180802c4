// capi/boundary.h: what every function of the C ABI does at its edge: turn a Status into a code and
// the thread's last error, log failures, and let no exception out.
//
// The order of what is checked is the same in all of them: arguments that are null or zero, then
// whether the service is initialized, then the handle, then the rest.

#pragma once

#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "base/status.h"
#include "capi/extern_logger.h"
#include "capi/failure_log.h"

namespace memfabric::capi {

// Sets the thread's last error; returns its code. Ok: 0, and the last error stays.
std::int32_t Report(const Status& status);

struct Outcome {
  std::int32_t code;
  Kind kind;
};

inline Outcome Reported(const Status& status) { return {Report(status), status.kind()}; }

// Runs `call`, which returns a Status, and reports it.
template <typename Call>
Outcome Run(Call&& call) noexcept {
  try {
    return Reported(std::forward<Call>(call)());
  } catch (const std::bad_alloc&) {
    return Reported(OutOfMemory("the process has no memory left"));
  } catch (const std::exception& failure) {
    return Reported(Internal("an exception came up: {}", failure.what()));
  } catch (...) {
    return Reported(Internal("an unknown exception came up"));
  }
}

// The end of every public function: what was logged meanwhile reaches the user's logger.
inline std::int32_t Return(std::int32_t code) noexcept {
  if (lines_waiting.load(std::memory_order_relaxed) != 0) [[unlikely]]
    SettleLines();
  return code;
}

// Public functions run what they do by one of these. A failure is logged, unless a signal asked for
// it.
template <typename Call>
std::int32_t Guard(Call&& call, const char* function = __builtin_FUNCTION()) noexcept {
  Outcome outcome = Run(std::forward<Call>(call));
  if (outcome.code != 0 && outcome.kind != Kind::kInterrupted) [[unlikely]]
    LogFailure(function);
  return Return(outcome.code);
}

// For copies and transfers: `subject()`, called after a failure only, names the peer; see
// LogFrequentFailure.
template <typename Call, typename Subject>
std::int32_t GuardMove(Call&& call, Subject&& subject,
                       const char* function = __builtin_FUNCTION()) noexcept {
  Outcome outcome = Run(std::forward<Call>(call));
  if (outcome.code != 0 && outcome.kind != Kind::kInterrupted) [[unlikely]]
    LogFrequentFailure(function, std::string(subject()));
  return Return(outcome.code);
}

// For waits whose bound the caller set: that it has passed is an answer.
template <typename Call>
std::int32_t GuardWait(Call&& call, const char* function = __builtin_FUNCTION()) noexcept {
  Outcome outcome = Run(std::forward<Call>(call));
  if (outcome.code != 0 && outcome.kind != Kind::kInterrupted &&
      outcome.kind != Kind::kDeadlineExceeded) [[unlikely]]
    LogFailure(function);
  return Return(outcome.code);
}

// For questions: that there is no such thing is an answer, and nothing is logged.
template <typename Call>
std::int32_t GuardQuestion(Call&& call) noexcept {
  return Return(Run(std::forward<Call>(call)).code);
}

// For questions that are answered by a value: `call` returns Result<T>; `none` on failure.
template <typename T, typename Call>
T ValueOr(T none, Call&& call) noexcept {
  T value = none;
  GuardQuestion([&]() -> Status {
    auto result = std::forward<Call>(call)();
    if (!result.ok()) return std::move(result).status();
    value = std::move(*result);
    return Ok();
  });
  return value;
}

// For functions that make something: the same, and a failure is logged.
template <typename T, typename Call>
T GuardValue(T none, Call&& call, const char* function = __builtin_FUNCTION()) noexcept {
  T value = none;
  Guard(
      [&]() -> Status {
        auto result = std::forward<Call>(call)();
        if (!result.ok()) return std::move(result).status();
        value = std::move(*result);
        return Ok();
      },
      function);
  return value;
}

}  // namespace memfabric::capi
