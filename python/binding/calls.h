// binding/calls.h: how the binding calls the C interface: the GIL, Ctrl-C, and failures.
//
// Threads: any Python thread. A call that may wait gives the GIL up; one that is expected to be
// short keeps it, and gives it up once the library turns out to wait (the interrupt check tells).
// Signals are handled while the main thread waits.

#pragma once

#include <memfabric/smem.h>
#include <nanobind/nanobind.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "arguments.h"

namespace memfabric::python {

enum class Gil { kRelease, kKeepWhileShort };

// One call under way on this thread. Calls nest: a callback may call again.
class Call {
 public:
  explicit Call(Gil gil, bool interruptible = true);
  ~Call();  // Takes the GIL back.
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  static int Check() noexcept;

  PyThreadState* released_ = nullptr;
  Call* enclosing_;
  smem_interrupt_check former_check_;
};

// Bounds the calls of this thread while it lives: seconds, or None for nothing. Refused below 0;
// TypeError for no number.
class CallTimeout {
 public:
  explicit CallTimeout(nb::handle seconds);
  ~CallTimeout();
  CallTimeout(const CallTimeout&) = delete;
  CallTimeout& operator=(const CallTimeout&) = delete;

 private:
  bool set_ = false;
};

// Runs `body` as a Call. Raises what a signal handler raised meanwhile; then the result is
// destroyed.
template <typename Body>
auto InLibrary(Gil gil, Body&& body) {
  if constexpr (std::is_void_v<decltype(body())>) {
    {
      Call call(gil);
      body();
    }
    if (PyErr_Occurred() != nullptr) throw nb::python_error();
  } else {
    auto result = [&] {
      Call call(gil);
      return body();
    }();
    if (PyErr_Occurred() != nullptr) throw nb::python_error();
    return result;
  }
}

// Gives the logger what the library has logged meanwhile, unless it is stalled. REQUIRES: the GIL.
void DeliverWaitingLog();
inline void DeliverLog() {
  if (smem_log_waits()) DeliverWaitingLog();
}

// The result of a function that returns codes: `body`'s, or INVALID_PARAM with the message of a
// Refused.
template <typename Body>
std::int32_t Code(Body&& body) {
  std::int32_t code = SMEM_ERROR;
  try {
    code = body();
  } catch (const Refused& refused) {
    code = smem_set_last_err(SMEM_INVALID_PARAM, refused.message.c_str());
  }
  DeliverLog();
  return code;
}

// For functions that give an object: raises RuntimeError with the last message, after making a
// Refused that message.
[[noreturn]] void RaiseLastError();
template <typename Body>
auto OrRaise(Body&& body) {
  try {
    return body();
  } catch (const Refused& refused) {
    smem_set_last_err(SMEM_INVALID_PARAM, refused.message.c_str());
  }
  RaiseLastError();
}

// A C string of the library's, which need not be valid UTF-8.
nb::str Text(const char* text);

// `text` for the C interface. Refused when it holds a NUL.
std::string CString(std::string_view text, const char* name);

// Around a call of a Python function by the library: takes the GIL and puts a pending exception (of
// a signal) aside. Once the interpreter goes away it doesn't return.
class Callback {
 public:
  Callback();
  ~Callback();
  Callback(const Callback&) = delete;
  Callback& operator=(const Callback&) = delete;

 private:
  PyGILState_STATE gil_;
  std::optional<nb::error_scope> pending_;
};

// Set once the interpreter goes down. From then on no callback runs, and threads other than the
// main one that come back from the library wait for the process's end: taking the GIL would end
// them in the middle of C++ frames.
std::atomic<bool>& Closed();

}  // namespace memfabric::python
