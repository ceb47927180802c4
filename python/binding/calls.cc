#include "calls.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "interpreter.h"

namespace memfabric::python {
namespace {

thread_local Call* current_call = nullptr;
// such a thread may be the library's: it has to come back
thread_local int callbacks_under_way = 0;

// Of the process; right in a forked child too.
bool OnMainThread() { return syscall(SYS_gettid) == getpid(); }

}  // namespace

std::atomic<bool>& Closed() {
  static std::atomic<bool> closed{false};
  return closed;
}

Call::Call(Gil gil, bool interruptible)
    : enclosing_(std::exchange(current_call, this)),
      former_check_(smem_set_interrupt_check(interruptible ? &Call::Check : nullptr)) {
  if (gil == Gil::kRelease) released_ = PyEval_SaveThread();
}

Call::~Call() {
  if (released_ != nullptr) {
    if (Closed().load(std::memory_order_acquire) && callbacks_under_way == 0 && !OnMainThread()) {
      Park();
    }
    TakeGil(released_);
  }
  DeliverLog();
  smem_set_interrupt_check(former_check_);
  current_call = enclosing_;
}

CallTimeout::CallTimeout(nb::handle seconds) {
  if (seconds.is_none()) return;
  const double value = PyFloat_AsDouble(seconds.ptr());
  if (value == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
  if (!(value >= 0))
    throw Refused{"timeout is " + std::to_string(value) + " s; it must be 0 or more"};
  constexpr double kMostMilliseconds = 1e18;
  // 0 has no meaning of its own in C: what is over at once is over in a millisecond.
  smem_set_call_timeout(
      static_cast<std::uint64_t>(std::clamp(value * 1000, 1.0, kMostMilliseconds)));
  set_ = true;
}

CallTimeout::~CallTimeout() {
  if (set_) smem_set_call_timeout(0);
}

int Call::Check() noexcept {
  Call& call = *current_call;
  bool interrupted = false;
  if (OnMainThread()) {
    if (call.released_ != nullptr) TakeGil(call.released_);
    interrupted = InPython([] { return PyErr_CheckSignals(); }) != 0;
    call.released_ = PyEval_SaveThread();
  } else if (call.released_ == nullptr) {
    call.released_ = PyEval_SaveThread();
  }
  return interrupted ? 1 : 0;
}

Callback::Callback() {
  if (Finalizing()) Park();
  gil_ = InPython([] { return PyGILState_Ensure(); });
  ++callbacks_under_way;
  pending_.emplace();
}

Callback::~Callback() {
  pending_.reset();
  --callbacks_under_way;
  PyGILState_Release(gil_);
}

void DeliverWaitingLog() {
  if (Closed().load(std::memory_order_acquire)) return;
  // an exception that a signal's handler raised stays for whoever looks at it next
  nb::error_scope pending;
  if (smem_deliver_log() != 1) return;
  PyThreadState* state = PyEval_SaveThread();
  smem_await_log();
  TakeGil(state);
}

void RaiseLastError() {
  DeliverLog();
  nb::str message = Text(smem_get_last_err_msg());
  PyErr_SetObject(PyExc_RuntimeError, message.ptr());
  throw nb::python_error();
}

nb::str Text(const char* text) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(std::string_view(text).size()), "replace");
  if (decoded == nullptr) throw nb::python_error();
  return nb::steal<nb::str>(decoded);
}

std::string CString(std::string_view text, const char* name) {
  if (text.find('\0') != std::string_view::npos)
    throw Refused{std::string(name) + " holds a NUL character"};
  return std::string(text);
}

}  // namespace memfabric::python
