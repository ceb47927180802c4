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
#include "modules.h"

namespace memfabric::python {
namespace {

// Names the constants of smem.h; IntEnum, as codes are compared with ints.
void BindErrorCode(nb::module_& module) {
  using Code = decltype(SMEM_OK);
  nb::enum_<Code>(module, "ErrorCode", nb::is_arithmetic(),
                  "What functions that return a code return; 0 is success.")
      .value("OK", SMEM_OK)
      .value("ERROR", SMEM_ERROR)
      .value("INVALID_PARAM", SMEM_INVALID_PARAM)
      .value("MALLOC_FAILED", SMEM_MALLOC_FAILED)
      .value("NEW_OBJECT_FAILED", SMEM_NEW_OBJECT_FAILED)
      .value("NOT_STARTED", SMEM_NOT_STARTED)
      .value("TIMEOUT", SMEM_TIMEOUT)
      .value("REPEAT_CALL", SMEM_REPEAT_CALL)
      .value("DUPLICATED_OBJECT", SMEM_DUPLICATED_OBJECT)
      .value("OBJECT_NOT_EXISTS", SMEM_OBJECT_NOT_EXISTS)
      .value("NOT_INITIALIZED", SMEM_NOT_INITIALIZED)
      .value("RESOURCE_IN_USE", SMEM_RESOURCE_IN_USE)
      .value("RECONNECT", SMEM_RECONNECT)
      .value("GET_OBJECT", SMEM_GET_OBJECT)
      .value("PARTIAL_FAILED", SMEM_PARTIAL_FAILED)
      .value("NOT_CONNECTED", SMEM_NOT_CONNECTED)
      .value("NOT_SUPPORTED", SMEM_NOT_SUPPORTED)
      .value("IO_ERROR", SMEM_IO_ERROR);
}

void BindDevices(nb::module_& module) {
  nb::class_<smem_device_t>(module, "Device", "A device whose memory pools can hold.")
      .def_ro("id", &smem_device_t::id, "What initialize() takes as device_id.")
      .def_ro("numa_node", &smem_device_t::numa_node,
              "The NUMA node it is closest to, -1 for none.")
      .def_ro("bytes", &smem_device_t::bytes, "Memory that it has in all.")
      .def_prop_ro(
          "backend", [](const smem_device_t& device) { return Text(device.backend); },
          "'host': ordinary memory of a NUMA node stands in for a device's.")
      .def_prop_ro(
          "name", [](const smem_device_t& device) { return Text(device.name); }, "For people.")
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
      "The devices whose memory pools can hold. On a machine without any, its NUMA nodes stand in "
      "for them (backend 'host').");
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
      "Starts what the process needs once. Not required: bm.initialize() does it. flags: any, "
      "reserved. Returns 0, also "
      "again.");
  module.def(
      "uninitialize", [] { InLibrary(Gil::kRelease, [] { smem_uninit(); }); },
      nb::sig("def uninitialize() -> None"),
      "Closes everything that is still open, in the right order. Also done when the interpreter "
      "exits.");
  module.def(
      "set_log_level",
      [](Int<std::int32_t> level) {
        return Code([&] { return smem_set_log_level(level.Get("level")); });
      },
      nb::arg("level"), nb::sig("def set_log_level(level: int) -> int"),
      R"(Logs what is at least as grave as `level`: 0 debug, 1 info, 2 warn, 3 error, 4 off.

At first 3, or the environment variable MEMFABRIC_LOG_LEVEL (then ASCEND_MF_LOG_LEVEL,
MF_LOG_LEVEL).
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

log_fn: called as log_fn(level, message), with the GIL, for one line at a time and in order, by a
    thread of its own or by a call of this package that is about to return. Nothing of the library
    waits for it: a call's lines have reached it when the call returns, unless it takes longer than
    100 ms for one; at most 4096 lines wait, and a line says how many more were dropped. The first
    exception that it raises goes to sys.unraisablehook, the others are dropped; lines that it
    causes itself are dropped too. None restores stderr; what waits reaches the former function
    first.
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

enable: False forgets everything that was given, the key as well; tls_info isn't looked at then.
tls_info: pairs 'key: value;', 10 KiB at most. tlsCaPath, tlsCaFile: the trusted certificates
    (files, split by commas); tlsCert: this process's. If wanted: tlsCrlPath, tlsCrlFile: lists of
    revoked ones; packagePath: not used. Files are PEM; relative names are under the path that
    belongs to them.
Returns 0. INVALID_PARAM (-2000): the text, a file or the certificate can't be used (expired, not
yet valid, revoked, signed by none of the trusted, not the key's); get_last_err_msg() says which,
and nothing changes.

>>> mf.set_conf_store_tls(True, "tlsCaPath: /etc/mf; tlsCaFile: ca.pem; tlsCert: /etc/mf/rank.pem;")
0)");
  module.def("set_conf_store_tls_key", &SetTlsKey, nb::arg("tls_pk"), nb::arg("tls_pk_pw"),
             nb::arg("py_decrypt_func").none(),
             nb::sig("def set_conf_store_tls_key(tls_pk: str, tls_pk_pw: str, "
                     "py_decrypt_func: collections.abc.Callable[[str], str] | None) -> int"),
             R"(Gives the private key for the store's TLS.

tls_pk: the key as PEM text, 64 KiB at most.
tls_pk_pw: its password, as py_decrypt_func takes it; plain when that is None. Looked at when the
    key is encrypted.
py_decrypt_func: called at once, gives the plain password.
Returns 0. INVALID_PARAM (-2000): no key, the wrong password, a key that isn't the certificate's, or
py_decrypt_func raised or returned no str; get_last_err_msg() says which, and shows nothing of key
and password.)");
  module.def(
      "get_last_err_msg", [] { return Text(smem_get_last_err_msg()); },
      nb::sig("def get_last_err_msg() -> str"),
      "What the calling thread's last failure was about, '' for none. Success doesn't reset it.");
  module.def(
      "get_and_clear_last_err_msg", [] { return Text(smem_get_and_clear_last_err_msg()); },
      nb::sig("def get_and_clear_last_err_msg() -> str"),
      "The same, and there is none from then on.");
  module.def(
      "strerror",
      [](Int<std::int32_t> code) {
        return Text(smem_strerror(code.fits ? code.value : SMEM_ERROR));
      },
      nb::arg("code"), nb::sig("def strerror(code: int) -> str"), "A code in words.");
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
