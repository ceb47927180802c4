// capi/boundary.h: what every function of the C ABI does at its edge: turn a Status into a code and the thread's last error,
// and let no exception out.

#pragma once

#include <cstdint>
#include <exception>
#include <new>
#include <utility>

#include "base/status.h"

namespace memfabric::capi {

// Sets the thread's last error; returns its code. Ok: 0, and the last error stays.
std::int32_t Report(const Status& status);

// Runs `call`, which returns a Status, and reports it.
template <typename Call>
std::int32_t Guard(Call&& call) noexcept {
  try {
    return Report(std::forward<Call>(call)());
  } catch (const std::bad_alloc&) {
    return Report(OutOfMemory("the process has no memory left"));
  } catch (const std::exception& failure) {
    return Report(Internal("an exception came up: {}", failure.what()));
  } catch (...) {
    return Report(Internal("an unknown exception came up"));
  }
}

// For functions that return a value instead of a code: `call` returns Result<T>; `none` on failure.
template <typename T, typename Call>
T GuardValue(T none, Call&& call) noexcept {
  T value = none;
  Guard([&]() -> Status {
    auto result = std::forward<Call>(call)();
    if (!result.ok()) return std::move(result).status();
    value = std::move(*result);
    return Ok();
  });
  return value;
}

}  // namespace memfabric::capi
