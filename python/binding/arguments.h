// binding/arguments.h: what Python passes, made into what the C interface takes.
//
// A wrong type is a TypeError. A number that doesn't fit its C type is not: the function answers
// INVALID_PARAM, by a Refused that the functions of calls.h turn into a code or a RuntimeError.
//
// Threads: everything here needs the GIL. An Address or a NumberList keeps its object's buffer
// exported while it lives.

#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace memfabric::python {

namespace nb = nanobind;

// An argument that can never work; becomes INVALID_PARAM with this message.
struct Refused {
  std::string message;
};

// TypeError: "name: what".
[[noreturn]] void WrongType(const char* name, const std::string& what);
std::string TypeName(nb::handle object);

[[noreturn]] void RefuseNumber(nb::handle number, const char* name, const std::string& low,
                               const std::string& high);

// An int argument (or anything with __index__) that may not fit T.
template <typename T>
struct Int {
  T value{};
  bool fits = true;
  nb::handle source;  // borrowed from the call's arguments; none for a default

  T Get(const char* name) const {
    if (!fits) {
      RefuseNumber(source, name, std::to_string(std::numeric_limits<T>::min()),
                   std::to_string(std::numeric_limits<T>::max()));
    }
    return value;
  }
};

// An enum member or its int; what is no member is the library's to refuse.
template <typename E>
struct Member : Int<std::int32_t> {
  E Get(const char* name) const { return static_cast<E>(Int<std::int32_t>::Get(name)); }
};

// A text: str, or bytes as they are.
struct Str {
  std::string_view text;

  operator std::string_view() const {
    return text;
  }  // NOLINT(google-explicit-constructor): it is one
};

// The same, or None for none.
struct OptionalStr : Str {};

// A truth value: bool, an int, None or numpy.bool_.
struct Flag {
  bool value = false;
};

// Sets *value and *fits; false when `object` is no int.
bool ReadInt(nb::handle object, std::int64_t low, std::uint64_t high, std::uint64_t* value,
             bool* fits);

enum class Access { kRead, kWrite };

// Sets *value; false when `object` is no truth value (see Flag).
bool ReadFlag(nb::handle object, bool* value);

// A view of an object's memory by the buffer protocol, exported while this lives.
struct Buffer {
  Py_buffer view{};

  Buffer() = default;
  Buffer(Buffer&& other) noexcept : view(std::exchange(other.view, Py_buffer{})) {}
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() { Release(); }
  // False, with Python's error set, when the object doesn't give it.
  bool Get(nb::handle object, int flags);
  void Release();
};

// An address: an int, a ctypes pointer (such as c_void_p: the address that it holds), or an object
// that has memory (buffer protocol, __array_interface__, data_ptr(), __dlpack__ on the CPU).
class Address {
 public:
  // TypeError: none of those, memory that is not contiguous or not the CPU's, or read-only memory
  // to be written.
  Address(nb::handle object, const char* name, Access access);
  ~Address();
  Address(Address&& other) = default;
  Address& operator=(Address&&) = delete;

  std::uint64_t value() const { return value_; }
  // Bytes of the object, if it is known.
  std::optional<std::uint64_t> size_bytes() const { return size_bytes_; }
  // Refused when the object is known to hold less than `size` bytes.
  void CheckHolds(std::uint64_t size, const char* name) const;
  // Whether an object keeps the memory alive, as an asynchronous copy needs it.
  bool owns() const { return buffer_.view.obj != nullptr || owner_.is_valid(); }

 private:
  bool ReadBuffer(nb::handle object, const char* name, Access access);
  bool ReadArrayInterface(nb::handle object, const char* name, Access access);
  bool ReadDataPointer(nb::handle object, const char* name);
  bool ReadDlpack(nb::handle object, const char* name, Access access);

  std::uint64_t value_ = 0;
  std::optional<std::uint64_t> size_bytes_;
  Buffer buffer_;
  nb::object owner_;
};

}  // namespace memfabric::python

namespace nanobind::detail {

template <typename T>
struct type_caster<memfabric::python::Int<T>> {
  NB_TYPE_CASTER(memfabric::python::Int<T>, const_name("int"))

  bool from_python(handle source, std::uint32_t, cleanup_list*) noexcept {
    std::uint64_t bits = 0;
    value.source = source;
    if (!memfabric::python::ReadInt(
            source, static_cast<std::int64_t>(std::numeric_limits<T>::min()),
            static_cast<std::uint64_t>(std::numeric_limits<T>::max()), &bits, &value.fits)) {
      return false;
    }
    value.value = static_cast<T>(bits);
    return true;
  }
};

template <typename E>
struct type_caster<memfabric::python::Member<E>> {
  NB_TYPE_CASTER(memfabric::python::Member<E>, make_caster<E>::Name + const_name(" | int"))

  bool from_python(handle source, std::uint32_t flags, cleanup_list* cleanup) noexcept {
    type_caster<memfabric::python::Int<std::int32_t>> number;
    if (!number.from_python(source, flags, cleanup)) return false;
    static_cast<memfabric::python::Int<std::int32_t>&>(value) = number.value;
    return true;
  }
};

template <>
struct type_caster<memfabric::python::Str> {
  NB_TYPE_CASTER(memfabric::python::Str, const_name("str"))

  bool from_python(handle source, std::uint32_t, cleanup_list*) noexcept {
    if (PyBytes_Check(source.ptr())) {
      value.text = {PyBytes_AS_STRING(source.ptr()),
                    static_cast<std::size_t>(PyBytes_GET_SIZE(source.ptr()))};
      return true;
    }
    Py_ssize_t size = 0;
    const char* text =
        PyUnicode_Check(source.ptr()) ? PyUnicode_AsUTF8AndSize(source.ptr(), &size) : nullptr;
    if (text == nullptr) {
      PyErr_Clear();
      return false;
    }
    value.text = {text, static_cast<std::size_t>(size)};
    return true;
  }
};

template <>
struct type_caster<memfabric::python::OptionalStr> {
  NB_TYPE_CASTER(memfabric::python::OptionalStr, const_name("str | None"))

  bool from_python(handle source, std::uint32_t flags, cleanup_list* cleanup) noexcept {
    if (source.is_none()) return true;
    type_caster<memfabric::python::Str> given;
    if (!given.from_python(source, flags, cleanup)) return false;
    value.text = given.value.text;
    return true;
  }
};

template <>
struct type_caster<memfabric::python::Flag> {
  NB_TYPE_CASTER(memfabric::python::Flag, const_name("bool"))

  bool from_python(handle source, std::uint32_t, cleanup_list*) noexcept {
    return memfabric::python::ReadFlag(source, &value.value);
  }
};

}  // namespace nanobind::detail
