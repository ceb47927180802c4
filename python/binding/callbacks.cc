#include "callbacks.h"

#include <memfabric/smem.h>
#include <unistd.h>

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "calls.h"
#include "interpreter.h"

namespace memfabric::python {
namespace {

// The logger. The C interface has one per process and hands it no context, so it stands here.
// Guarded by the GIL.
struct Logger {
  PyObject* function = nullptr;
  bool reported = false;  // an exception of it; the next ones are dropped
};

Logger& TheLogger() {
  static Logger logger;
  return logger;
}

const pid_t importer = getpid();

std::map<std::uintptr_t, CallbackFunction*>& Functions() {
  // never destroyed: objects may outlive statics
  static auto* functions = new std::map<std::uintptr_t, CallbackFunction*>;
  return *functions;
}

nb::object Text(const std::string& text) {
  return nb::steal(
      PyUnicode_DecodeUTF8(text.c_str(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

// REQUIRES: the GIL, by the gate or by who delivers.
void Log(int level, const char* message) noexcept {
  Logger& logger = TheLogger();
  if (logger.function == nullptr) return;
  nb::object function = nb::borrow(logger.function);
  nb::object text = Text(message);
  nb::object result;
  if (text.is_valid()) {
    result = nb::steal(
        InPython([&] { return PyObject_CallFunction(function.ptr(), "iO", level, text.ptr()); }));
  }
  if (result.is_valid()) return;
  if (std::exchange(logger.reported, true)) {
    PyErr_Clear();
  } else {
    InPython([&] { PyErr_WriteUnraisable(function.ptr()); });
  }
}

// Enters and leaves the GIL around what the logger's own thread, or set_extern_logger, delivers.
void Gate(int enter) {
  static thread_local std::optional<Callback> inside;
  if (enter != 0) {
    inside.emplace();
  } else {
    inside.reset();
  }
}

// Calls the function behind `context` with the tuple that `arguments` makes.
template <typename Arguments>
void Tell(void* context, Arguments&& arguments) noexcept {
  if (Closed().load(std::memory_order_acquire)) return;
  Callback scope;
  nb::object function = CallbackFunction::Find(context);
  if (!function.is_valid()) return;
  nb::object result;
  if (nb::object tuple = arguments(); tuple.is_valid()) {
    result = nb::steal(InPython([&] { return PyObject_CallObject(function.ptr(), tuple.ptr()); }));
  }
  if (!result.is_valid()) InPython([&] { PyErr_WriteUnraisable(function.ptr()); });
}

}  // namespace

std::int32_t SetLogger(nb::handle function) {
  DeliverLog();  // to the former one
  Logger& logger = TheLogger();
  nb::object former = nb::steal(logger.function);
  logger.function = function.is_none() ? nullptr : nb::borrow(function).release().ptr();
  logger.reported = false;
  bool none = function.is_none();
  return InLibrary(Gil::kRelease, [&] {
    return smem_set_gated_logger(none ? nullptr : &Log, none ? nullptr : &Gate);
  });
}

CallbackFunction::CallbackFunction() {
  static std::uintptr_t last = 0;
  number_ = ++last;
  Functions()[number_] = this;
}

CallbackFunction::~CallbackFunction() { Functions().erase(number_); }

nb::object CallbackFunction::Find(void* context) {
  auto found = Functions().find(reinterpret_cast<std::uintptr_t>(context));
  return found == Functions().end() ? nb::object() : found->second->function;
}

void TellGroupEvent(smem_bm_t, std::uint32_t rank, smem_bm_group_event event,
                    void* context) noexcept {
  Tell(context, [&] {
    nb::object member = nb::cast(event);
    return nb::steal(member.is_valid() ? Py_BuildValue("(IO)", rank, member.ptr()) : nullptr);
  });
}

void TellPeerDown(const char* peer, void* context) noexcept {
  Tell(context, [&] {
    nb::object name = Text(peer);
    return nb::steal(name.is_valid() ? PyTuple_Pack(1, name.ptr()) : nullptr);
  });
}

void Close() {
  SetLogger(nb::none());
  Closed().store(true, std::memory_order_release);
  InLibrary(Gil::kRelease, [] { smem_uninit(); });
  // Threads that are still there, or were where this process was forked, keep what their frames
  // refer to, for ever; nanobind would call that leaks of ours.
  auto frames = nb::borrow<nb::dict>(nb::module_::import_("sys").attr("_current_frames")());
  nb::int_ own(PyThread_get_thread_ident());
  bool others = nb::len(frames) > (frames.contains(own) ? 1U : 0U);
  if (others || getpid() != importer) nb::set_leak_warnings(false);
}

}  // namespace memfabric::python
