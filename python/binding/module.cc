// The extension module memfabric_hybrid._memfabric: what memfabric_hybrid itself offers, bm and shm
// inside. The package gives the names their home.

#include <memfabric/smem.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <vector>

#include "callbacks.h"
#include "calls.h"
#include "interpreter.h"
#include "memory.h"
#include "modules.h"

namespace memfabric::python {
namespace {

// Names the constants of smem.h; IntEnum, as codes are compared with ints.
void BindErrorCode(nb::module_& module) {
  using Code = decltype(SMEM_OK);
  nb::enum_<Code>(module, "ErrorCode", nb::is_arithmetic(),
                  "What functions that return a code return; 0 is success.")
      .value("OK", SMEM_OK, "Success.")
      .value("ERROR", SMEM_ERROR, "None of those below; the message says what.")
      .value("INVALID_PARAM", SMEM_INVALID_PARAM,
             "An argument that can never work. Nothing was done.")
      .value("MALLOC_FAILED", SMEM_MALLOC_FAILED,
             "The machine or a limit of the process refused memory.")
      .value("NEW_OBJECT_FAILED", SMEM_NEW_OBJECT_FAILED, "An object could not be made.")
      .value("NOT_STARTED", SMEM_NOT_STARTED,
             "Another call has to come first, such as a join before a copy.")
      .value("TIMEOUT", SMEM_TIMEOUT, "The configured bound has passed.")
      .value("REPEAT_CALL", SMEM_REPEAT_CALL, "Called before, with other arguments.")
      .value("DUPLICATED_OBJECT", SMEM_DUPLICATED_OBJECT,
             "The name, rank or range is taken by another.")
      .value("OBJECT_NOT_EXISTS", SMEM_OBJECT_NOT_EXISTS,
             "The object or range doesn't exist, or not any more.")
      .value("NOT_INITIALIZED", SMEM_NOT_INITIALIZED,
             "The service was not initialized, or has been uninitialized.")
      .value("RESOURCE_IN_USE", SMEM_RESOURCE_IN_USE,
             "Full, or a port taken by something else. Retry later or elsewhere.")
      .value("RECONNECT", SMEM_RECONNECT,
             "The others gave this process up, and it is coming back by itself. Retry.")
      .value("GET_OBJECT", SMEM_GET_OBJECT, "An object that must be there could not be read.")
      .value("PARTIAL_FAILED", SMEM_PARTIAL_FAILED, "Some of several operations failed.")
      .value("NOT_CONNECTED", SMEM_NOT_CONNECTED,
             "The peer has not joined, or the peer or the store has gone or can't be reached.")
      .value("NOT_SUPPORTED", SMEM_NOT_SUPPORTED, "Not on this machine, or not in this version.")
      .value("IO_ERROR", SMEM_IO_ERROR,
             "The operating system failed in a way that the caller can't mend.");
}

void BindDevices(nb::module_& module) {
  nb::class_<smem_device_t>(module, "Device", "A device whose memory pools can hold.")
      .def_ro("id", &smem_device_t::id, "What initialize() takes as device_id.")
      .def_ro("numa_node", &smem_device_t::numa_node,
              "The NUMA node that it is closest to; -1 for none.")
      .def_ro("bytes", &smem_device_t::bytes, "All of its memory.")
      .def_prop_ro(
          "backend", [](const smem_device_t& device) { return Text(device.backend); },
          "'host': memory of a NUMA node stands in for a device's.")
      .def_prop_ro(
          "name", [](const smem_device_t& device) { return Text(device.name); },
          "A name for people.")
      .def("__repr__", [](const smem_device_t& device) {
        return "Device(id=" + std::to_string(device.id) + ", backend='" +
               Text(device.backend).c_str() + "', name='" + Text(device.name).c_str() +
               "', numa_node=" + std::to_string(device.numa_node) +
               ", bytes=" + std::to_string(device.bytes) + ")";
      });
  module.def(
      "devices",
      [] {
        std::vector<smem_device_t> devices(16);
        while (true) {
          auto room = static_cast<std::uint32_t>(devices.size());
          std::uint32_t count = room;
          std::int32_t code =
              InLibrary(Gil::kRelease, [&] { return smem_get_devices(devices.data(), &count); });
          if (code != SMEM_OK) RaiseLastError();
          devices.resize(count);
          if (count <= room) break;
        }
        nb::list list;
        for (const smem_device_t& device : devices) list.append(device);
        return list;
      },
      nb::sig("def devices() -> list[Device]"),
      "The devices whose memory pools can hold. Without devices, NUMA nodes stand in for them "
      "(backend\n'host').");
}

std::int32_t SetTlsKey(Str key, Str pass, nb::handle decrypt) {
  std::string_view password = pass;
  return Code([&] {
    nb::object plain;
    if (!decrypt.is_none()) {
      if (PyCallable_Check(decrypt.ptr()) == 0)
        throw nb::type_error("py_decrypt_func: expected a callable or None");
      nb::object cipher = nb::cast(password);
      plain = nb::steal(InPython([&] { return PyObject_CallOneArg(decrypt.ptr(), cipher.ptr()); }));
      if (!plain.is_valid()) {
        nb::python_error error;
        if (!error.matches(PyExc_Exception)) throw error;
        throw Refused{std::string("py_decrypt_func raised ") +
                      nb::inst_name(error.value()).c_str()};
      }
      if (!nb::isinstance<nb::str>(plain)) throw Refused{"py_decrypt_func returned no str"};
      password = nb::cast<std::string_view>(plain);
    }
    auto key_bytes = static_cast<std::uint32_t>(key.text.size());
    auto password_bytes = static_cast<std::uint32_t>(password.size());
    if (key_bytes != key.text.size() || password_bytes != password.size())
      throw Refused{"the key or its password is over 4 GiB"};
    return InLibrary(Gil::kRelease, [&] {
      return smem_set_config_store_tls_key(key.text.data(), key_bytes, password.data(),
                                           password_bytes, nullptr);
    });
  });
}

void BindCommon(nb::module_& module) {
  module.def(
      "initialize",
      [](Int<std::uint32_t> flags) {
        return InLibrary(Gil::kRelease, [&] { return smem_init(flags.value); });
      },
      nb::arg("flags") = 0, nb::sig("def initialize(flags: int = 0) -> int"),
      R"(Starts what the process needs once. Nobody has to call it: the services do.

flags: reserved.
Returns 0, also for a second call.)");
  module.def(
      "uninitialize", [] { InLibrary(Gil::kRelease, [] { smem_uninit(); }); },
      nb::sig("def uninitialize() -> None"),
      "Closes everything that is open, in the right order. The interpreter's exit does the same.");
  module.def(
      "set_log_level",
      [](Int<std::int32_t> level) {
        return Code([&] { return smem_set_log_level(level.Get("level")); });
      },
      nb::arg("level"), nb::sig("def set_log_level(level: int) -> int"),
      R"(Logs messages of `level` and graver ones: 0 debug, 1 info, 2 warn, 3 error, 4 off.

At first 3, or what the environment variable MEMFABRIC_LOG_LEVEL says, else ASCEND_MF_LOG_LEVEL,
else MF_LOG_LEVEL.
Returns 0. INVALID_PARAM (-2000): another number.)");
  module.def(
      "set_extern_logger",
      [](nb::handle log_fn) {
        if (!log_fn.is_none() && PyCallable_Check(log_fn.ptr()) == 0) {
          throw nb::type_error("log_fn: expected a callable or None");
        }
        return SetLogger(log_fn);
      },
      nb::arg("log_fn").none(),
      nb::sig("def set_extern_logger(log_fn: collections.abc.Callable[[int, str], object] | None) "
              "-> int"),
      R"(Sends the log to a function instead of stderr.

log_fn: called as log_fn(level, message), with the GIL, for one line at a time and in order. It runs
    on a thread of its own, or in a call of this package that is about to return. A call's lines
    have reached it when the call returns, unless it spends more than 100 ms on one. Nothing in the
    library waits for it longer. At most 4096 lines wait; further ones are dropped, and a line says
    how many. The first exception that it raises goes to sys.unraisablehook, further ones are
    dropped. Lines that it causes itself are dropped. None restores stderr; the former function
    still gets the lines that wait.
Returns 0.)");
  module.def(
      "set_conf_store_tls",
      [](Flag enable, Str tls_info) {
        return Code([&] {
          auto size = static_cast<std::uint32_t>(tls_info.text.size());
          if (size != tls_info.text.size()) throw Refused{"tls_info is over 4 GiB long"};
          return InLibrary(Gil::kRelease, [&] {
            return smem_set_conf_store_tls(enable.value, tls_info.text.data(), size);
          });
        });
      },
      nb::arg("enable").none(), nb::arg("tls_info"),
      nb::sig("def set_conf_store_tls(enable: bool, tls_info: str) -> int"),
      R"(Turns TLS on or off for the stores and store connections that are opened from now on.

enable: False forgets everything that was given, the key included, and doesn't look at tls_info.
tls_info: pairs 'key: value;', 10 KiB at most. Required: tlsCaPath and tlsCaFile (certificates of
    the trusted authorities, with commas between files), tlsCert (this process's certificate).
    Optional: tlsCrlPath and tlsCrlFile (lists of revoked certificates), packagePath (not used).
    Files are PEM. A relative name is below the path of its key.
Returns 0. INVALID_PARAM (-2000): get_last_err_msg() says what is wrong with the text, a file or the
    certificate (expired, not valid yet, revoked, of an authority that isn't trusted, not the
    key's). Nothing changes.

>>> mf.set_conf_store_tls(True, "tlsCaPath: /etc/mf; tlsCaFile: ca.pem; tlsCert: /etc/mf/rank.pem;")
0)");
  module.def("set_conf_store_tls_key", &SetTlsKey, nb::arg("tls_pk"), nb::arg("tls_pk_pw"),
             nb::arg("py_decrypt_func").none(),
             nb::sig("def set_conf_store_tls_key(tls_pk: str, tls_pk_pw: str, "
                     "py_decrypt_func: collections.abc.Callable[[str], str] | None) -> int"),
             R"(Gives the private key for the store's TLS.

tls_pk: the key as PEM text, 64 KiB at most.
tls_pk_pw: its password, which is looked at when the key is encrypted.
py_decrypt_func: called at once with tls_pk_pw, returns the plain password. None: tls_pk_pw is
    plain.
Returns 0. INVALID_PARAM (-2000): no key, the wrong password, a key that isn't the certificate's, or
    py_decrypt_func raised or returned no str. get_last_err_msg() says which, and shows nothing of
    the key or the password.)");
  module.def(
      "get_last_err_msg", [] { return Text(smem_get_last_err_msg()); },
      nb::sig("def get_last_err_msg() -> str"),
      "The message of the calling thread's last failure; '' for none. Success doesn't reset it.");
  module.def(
      "get_and_clear_last_err_msg", [] { return Text(smem_get_and_clear_last_err_msg()); },
      nb::sig("def get_and_clear_last_err_msg() -> str"),
      "The message of the calling thread's last failure, and clears it.");
  module.def(
      "strerror",
      [](Int<std::int32_t> code) {
        return Text(smem_strerror(code.fits ? code.value : SMEM_ERROR));
      },
      nb::arg("code"), nb::sig("def strerror(code: int) -> str"),
      "A code in words: 'INVALID_PARAM: an argument that can never work'.");
  module.def(
      "create_config_store",
      [](Str store_url) {
        return Code([&] {
          std::string url = CString(store_url, "store_url");
          return InLibrary(Gil::kRelease, [&] { return smem_create_config_store(url.c_str(), 0); });
        });
      },
      nb::arg("store_url"), nb::sig("def create_config_store(store_url: str | bytes) -> int"),
      R"(Serves a store from this process, and returns once it answers.

store_url: 'tcp://host:port', port 1 to 65535.
Returns 0, also for the same url again. RESOURCE_IN_USE (-2009): something else has the port.
    INVALID_PARAM (-2000): no such url.)");
  module.def("_close", &Close, nb::sig("def _close() -> None"), "For atexit.");
}

}  // namespace
}  // namespace memfabric::python

NB_MODULE(_memfabric, module) {
  using namespace memfabric::python;
  nb::object own_name = module.attr("__name__");
  // What is defined here belongs to the package's modules: that is what users, help() and pickle
  // see.
  module.attr("__name__") = "memfabric_hybrid";
  BindErrorCode(module);
  BindDevices(module);
  BindCommon(module);
  BindMemory(module);
  BindTransfer(module);
  module.attr("__name__") = own_name;
  module.attr("__version__") = MEMFABRIC_VERSION;

  nb::module_ bm = module.def_submodule("bm", "Taken over by memfabric_hybrid.bm.");
  nb::object bm_name = bm.attr("__name__");
  bm.attr("__name__") = "memfabric_hybrid.bm";
  BindBm(bm);
  bm.attr("__name__") = bm_name;

  nb::module_ shm = module.def_submodule("shm", "Taken over by memfabric_hybrid.shm.");
  nb::object shm_name = shm.attr("__name__");
  shm.attr("__name__") = "memfabric_hybrid.shm";
  BindShm(shm);
  shm.attr("__name__") = shm_name;
}
