#include "callbacks.h"

#include <memfabric/smem.h>

#include <utility>

#include "calls.h"

namespace memfabric::python {
namespace {

// The logger. The C interface has one per process and hands it no context, so it stands here. Guarded by the GIL.
struct Logger {
  PyObject* function = nullptr;
  bool reported = false;  // an exception of it; the next ones are dropped
};

Logger& TheLogger() {
  static Logger logger;
  return logger;
}

void Log(int level, const char* message) noexcept {
  static thread_local bool logging = false;  // lines that the logger itself causes would never end
  if (logging || Closed().load(std::memory_order_acquire)) return;
  Callback scope;
  Logger& logger = TheLogger();
  if (logger.function == nullptr) return;
  logging = true;
  nb::object function = nb::borrow(logger.function);
  nb::object text =
      nb::steal(PyUnicode_DecodeUTF8(message, static_cast<Py_ssize_t>(std::char_traits<char>::length(message)), "replace"));
  nb::object result;
  if (text.is_valid()) result = nb::steal(PyObject_CallFunction(function.ptr(), "iO", level, text.ptr()));
  if (!result.is_valid()) {
    if (std::exchange(logger.reported, true)) {
      PyErr_Clear();
    } else {
      PyErr_WriteUnraisable(function.ptr());
    }
  }
  logging = false;
}

}  // namespace

std::int32_t SetLogger(nb::handle function) {
  Logger& logger = TheLogger();
  nb::object former = nb::steal(logger.function);
  logger.function = function.is_none() ? nullptr : nb::borrow(function).release().ptr();
  logger.reported = false;
  return InLibrary(Gil::kRelease, [&] { return smem_set_extern_logger(function.is_none() ? nullptr : &Log); });
}

void GroupEventFunction::Call(smem_bm_t, std::uint32_t rank, smem_bm_group_event event, void* context) noexcept {
  if (Closed().load(std::memory_order_acquire)) return;
  Callback scope;
  nb::object function = static_cast<GroupEventFunction*>(context)->function;  // may be replaced while it runs
  if (!function.is_valid()) return;
  nb::object result;
  if (nb::object member = nb::cast(event); member.is_valid()) {
    result = nb::steal(PyObject_CallFunction(function.ptr(), "IO", rank, member.ptr()));
  }
  if (!result.is_valid()) PyErr_WriteUnraisable(function.ptr());
}

void Close() {
  SetLogger(nb::none());
  Closed().store(true, std::memory_order_release);
  InLibrary(Gil::kRelease, [] { smem_uninit(); });
  // Daemon threads keep what their frames refer to, for ever; nanobind would call that leaks of ours.
  if (nb::cast<int>(nb::module_::import_("threading").attr("active_count")()) > 1) nb::set_leak_warnings(false);
}

}  // namespace memfabric::python
