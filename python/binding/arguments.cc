#include "arguments.h"

#include <nanobind/ndarray.h>

#include <cstring>

#include "interpreter.h"

namespace memfabric::python {
namespace {

// `number` as an unsigned int, or nothing.
std::optional<std::uint64_t> AsUnsigned(nb::handle number) {
  std::uint64_t value = 0;
  bool fits = false;
  if (!number.is_valid() || !ReadInt(number, 0, UINT64_MAX, &value, &fits) || !fits)
    return std::nullopt;
  return value;
}

// The attribute, or no object.
nb::object Attribute(nb::handle object, const char* name) {
  if (!object.is_valid()) return {};
  PyObject* attribute = InPython([&] { return PyObject_GetAttrString(object.ptr(), name); });
  if (attribute == nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw nb::python_error();
    PyErr_Clear();
  }
  return nb::steal(attribute);
}

nb::object Call(nb::handle function) {
  PyObject* result = InPython([&] { return PyObject_CallNoArgs(function.ptr()); });
  if (result == nullptr) throw nb::python_error();
  return nb::steal(result);
}

// Size of one element by an array interface's type string ("<f4"), 0 when it can't be read.
std::uint64_t ElementBytes(const char* type_string) {
  std::uint64_t bytes = 0;
  if (std::strlen(type_string) < 3) return 0;
  for (const char* digit = type_string + 2; *digit != '\0'; ++digit) {
    if (*digit < '0' || *digit > '9') return 0;
    bytes = bytes * 10 + static_cast<std::uint64_t>(*digit - '0');
  }
  return type_string[1] == 'U' ? bytes * 4 : bytes;
}

// An int, or a number like np.uint64: that has memory too, but no elements that could be set. An
// array has both.
bool IsNumber(nb::handle object) {
  if (PyLong_Check(object.ptr())) return true;
  const PyMappingMethods* mapping = Py_TYPE(object.ptr())->tp_as_mapping;
  return PyIndex_Check(object.ptr()) != 0 &&
         (mapping == nullptr || mapping->mp_ass_subscript == nullptr);
}

// A number that can be no address, like np.float64: it has memory of its own, and no caller means
// that.
bool IsOtherNumber(nb::handle object) {
  const PyMappingMethods* mapping = Py_TYPE(object.ptr())->tp_as_mapping;
  return PyNumber_Check(object.ptr()) != 0 &&
         (mapping == nullptr || mapping->mp_ass_subscript == nullptr);
}

// The format of a ctypes pointer: c_void_p, c_char_p, c_wchar_p, POINTER(…), a function.
bool IsPointer(const Py_buffer& view) {
  if (view.ndim != 0 || view.format == nullptr || view.len != sizeof(void*)) return false;
  const char* format = view.format;
  if (*format == '<' || *format == '=' || *format == '@') ++format;
  return *format != '\0' && std::strchr("PzZ&X", *format) != nullptr;
}

}  // namespace

void WrongType(const char* name, const std::string& what) {
  throw nb::type_error((std::string(name) + ": " + what).c_str());
}

std::string TypeName(nb::handle object) { return nb::inst_name(object).c_str(); }

bool ReadFlag(nb::handle object, bool* value) {
  std::string_view type = Py_TYPE(object.ptr())->tp_name;
  bool is_flag =
      object.is_none() || type == "numpy.bool" || type == "numpy.bool_" || IsNumber(object);
  if (!is_flag) return false;
  int truth = InPython([&] { return PyObject_IsTrue(object.ptr()); });
  if (truth < 0) PyErr_Clear();
  *value = truth == 1;
  return truth >= 0;
}

bool Buffer::Get(nb::handle object, int flags) {
  return InPython([&] { return PyObject_GetBuffer(object.ptr(), &view, flags); }) == 0;
}

void Buffer::Release() {
  if (view.obj != nullptr) InPython([&] { PyBuffer_Release(&view); });
}

bool ReadInt(nb::handle object, std::int64_t low, std::uint64_t high, std::uint64_t* value,
             bool* fits) {
  nb::object index;
  if (!PyLong_Check(object.ptr())) {
    if (!PyIndex_Check(object.ptr())) return false;
    index = nb::steal(InPython([&] { return PyNumber_Index(object.ptr()); }));
    if (!index.is_valid()) {
      PyErr_Clear();
      return false;
    }
    object = index;
  }
  int overflow = 0;
  long long number = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  *fits = true;
  if (overflow == 0) {
    *value = static_cast<std::uint64_t>(number);
    if (number < 0) {
      *fits = number >= low;
    } else {
      *fits = *value <= high;
    }
  } else if (overflow < 0 || high <= static_cast<std::uint64_t>(INT64_MAX)) {
    *fits = false;
  } else {
    *value = PyLong_AsUnsignedLongLong(object.ptr());
    if (PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      *fits = false;
    }
  }
  return true;
}

void RefuseNumber(nb::handle number, const char* name, const std::string& low,
                  const std::string& high) {
  throw Refused{std::string(name) + " is " + nb::repr(number).c_str() +
                ", out of range: it must be " + low + " to " + high};
}

Address::Address(nb::handle object, const char* name, Access access) {
  bool fits = false;
  if (IsNumber(object)) {
    if (!ReadInt(object, 0, UINT64_MAX, &value_, &fits))
      WrongType(name, "__index__ of " + TypeName(object) + " gives no int");
    if (!fits) RefuseNumber(object, name, "0", std::to_string(UINT64_MAX));
    return;
  }
  if (IsOtherNumber(object)) WrongType(name, "expected an address, not " + TypeName(object));
  if (ReadBuffer(object, name, access) || ReadArrayInterface(object, name, access) ||
      ReadDataPointer(object, name) || ReadDlpack(object, name, access)) {
    return;
  }
  WrongType(name,
            "expected an address (int) or an object with memory (buffer protocol, "
            "__array_interface__, data_ptr() or "
            "__dlpack__), not " +
                TypeName(object));
}

Address::~Address() {
  PyObject* owner = owner_.release().ptr();
  InPython([&] { Py_XDECREF(owner); });
}

void Address::CheckHolds(std::uint64_t size, const char* name) const {
  if (size_bytes_.has_value() && size > *size_bytes_) {
    throw Refused{std::string(name) + " holds " + std::to_string(*size_bytes_) +
                  " bytes, fewer than the " + std::to_string(size) + " to be copied"};
  }
}

bool Address::ReadBuffer(nb::handle object, const char* name, Access access) {
  if (!PyObject_CheckBuffer(object.ptr())) return false;
  int flags = PyBUF_ANY_CONTIGUOUS | PyBUF_FORMAT | (access == Access::kWrite ? PyBUF_WRITABLE : 0);
  const char* wanted = access == Access::kWrite ? "written" : "read";
  if (!buffer_.Get(object, flags)) {
    nb::python_error error;
    if (!error.matches(PyExc_Exception)) throw error;
    WrongType(name, TypeName(object) + " gives no buffer that can be " + wanted +
                        " in one piece: " + error.what());
  }
  const Py_buffer& view = buffer_.view;
  if (IsPointer(view)) {
    std::memcpy(&value_, view.buf, sizeof(value_));
    buffer_.Release();
    owner_ = nb::borrow(object);  // a pointer keeps what it points to alive
    return true;
  }
  // Not all exporters keep to the flags.
  if (PyBuffer_IsContiguous(&view, 'A') == 0 || (access == Access::kWrite && view.readonly != 0))
    WrongType(name, TypeName(object) + " gives no buffer that can be " + wanted + " in one piece");
  value_ = reinterpret_cast<std::uint64_t>(view.buf);
  size_bytes_ = static_cast<std::uint64_t>(view.len);
  return true;
}

bool Address::ReadArrayInterface(nb::handle object, const char* name, Access access) {
  nb::object interface = Attribute(object, "__array_interface__");
  if (!interface.is_valid()) return false;
  if (!PyDict_Check(interface.ptr())) WrongType(name, "__array_interface__ is no dict");
  nb::dict fields = nb::borrow<nb::dict>(interface);
  if (!fields.contains("data") || !fields.contains("shape") || !fields.contains("typestr")) {
    WrongType(name, "__array_interface__ lacks data, shape or typestr");
  }
  nb::object data = fields["data"];
  if (!nb::isinstance<nb::tuple>(data) || nb::len(data) != 2)
    WrongType(name, "__array_interface__ gives no address");
  auto address = AsUnsigned(data[0]);
  if (!address.has_value()) WrongType(name, "__array_interface__ gives no address");
  if (access == Access::kWrite && PyObject_IsTrue(nb::object(data[1]).ptr()) != 0)
    WrongType(name, "is read-only");

  nb::object type_string = fields["typestr"];
  nb::object shape = fields["shape"];
  if (!nb::isinstance<nb::str>(type_string) || !nb::isinstance<nb::tuple>(shape)) {
    WrongType(name, "__array_interface__ has a malformed typestr or shape");
  }
  std::uint64_t bytes = ElementBytes(nb::borrow<nb::str>(type_string).c_str());
  if (bytes == 0) WrongType(name, "__array_interface__ has a typestr of no known size");
  nb::object strides =
      fields.contains("strides") ? nb::object(fields["strides"]) : nb::object(nb::none());
  bool contiguous = strides.is_none() ||
                    (nb::isinstance<nb::tuple>(strides) && nb::len(strides) == nb::len(shape));
  for (std::size_t axis = nb::len(shape); axis-- > 0;) {
    auto extent = AsUnsigned(nb::object(shape[axis]));
    if (!extent.has_value()) WrongType(name, "__array_interface__ has a malformed shape");
    if (contiguous && !strides.is_none() && *extent > 1)
      contiguous = AsUnsigned(nb::object(strides[axis])) == bytes;
    if (__builtin_mul_overflow(bytes, *extent, &bytes))
      WrongType(name, "__array_interface__ has a shape that is too large");
  }
  if (!contiguous) WrongType(name, "is not contiguous");
  value_ = *address;
  size_bytes_ = bytes;
  owner_ = nb::borrow(object);
  return true;
}

bool Address::ReadDataPointer(nb::handle object, const char* name) {
  nb::object data_pointer = Attribute(object, "data_ptr");
  if (!data_pointer.is_valid() || PyCallable_Check(data_pointer.ptr()) == 0) return false;
  nb::object device = Attribute(Attribute(object, "device"), "type");
  if (device.is_valid() && nb::isinstance<nb::str>(device)) {
    std::string type = nb::borrow<nb::str>(device).c_str();
    if (type != "cpu") WrongType(name, "is memory of a " + type + " device, not of the CPU");
  }
  if (nb::object contiguous = Attribute(object, "is_contiguous"); contiguous.is_valid()) {
    if (PyObject_IsTrue(Call(contiguous).ptr()) != 1) WrongType(name, "is not contiguous");
  }
  auto address = AsUnsigned(Call(data_pointer));
  if (!address.has_value()) WrongType(name, "data_ptr() gives no address");
  value_ = *address;
  size_bytes_ = AsUnsigned(Attribute(object, "nbytes"));
  owner_ = nb::borrow(object);
  return true;
}

bool Address::ReadDlpack(nb::handle object, const char* name, Access access) {
  if (PyObject_HasAttrString(object.ptr(), "__dlpack__") == 0) return false;
  nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu> readable;
  nb::ndarray<nb::c_contig, nb::device::cpu> writable;
  bool taken =
      access == Access::kWrite ? nb::try_cast(object, writable) : nb::try_cast(object, readable);
  if (!taken)
    WrongType(name, "__dlpack__ gives no contiguous" +
                        std::string(access == Access::kWrite ? ", writable" : "") +
                        " memory of the CPU");
  value_ =
      reinterpret_cast<std::uint64_t>(access == Access::kWrite ? writable.data() : readable.data());
  size_bytes_ = access == Access::kWrite ? writable.nbytes() : readable.nbytes();
  owner_ = nb::borrow(object);
  return true;
}

}  // namespace memfabric::python
