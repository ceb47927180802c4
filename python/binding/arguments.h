// binding/arguments.h: what Python passes, made into what the C interface takes.
//
// A wrong type is a TypeError. A number that doesn't fit its C type is not: the function answers INVALID_PARAM, by a Refused
// that the functions of calls.h turn into a code or a RuntimeError.
//
// Threads: everything here needs the GIL. An Address or a NumberList keeps its object's buffer exported while it lives.

#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace memfabric::python {

namespace nb = nanobind;

// An argument that can never work; becomes INVALID_PARAM with this message.
struct Refused {
  std::string message;
};

[[noreturn]] void RefuseNumber(nb::handle number, const char* name, const std::string& low, const std::string& high);

// An int argument (or anything with __index__) that may not fit T.
template <typename T>
struct Int {
  T value{};
  bool fits = true;
  nb::handle source;  // borrowed from the call's arguments; none for a default

  T Get(const char* name) const {
    if (!fits) {
      RefuseNumber(source, name, std::to_string(std::numeric_limits<T>::min()), std::to_string(std::numeric_limits<T>::max()));
    }
    return value;
  }
};

// An enum member or its int; what is no member is the library's to refuse.
template <typename E>
struct Member : Int<std::int32_t> {
  E Get(const char* name) const { return static_cast<E>(Int<std::int32_t>::Get(name)); }
};

// A truth value: bool, or an int.
struct Flag {
  bool value = false;
};

// Sets *value and *fits; false when `object` is no int.
bool ReadInt(nb::handle object, std::int64_t low, std::uint64_t high, std::uint64_t* value, bool* fits);

enum class Access { kRead, kWrite };

// An address: an int, or an object that has memory (buffer protocol, __array_interface__, data_ptr(), __dlpack__ on the CPU).
class Address {
 public:
  // TypeError: none of those, memory that is not contiguous or not the CPU's, or read-only memory to be written.
  Address(nb::handle object, const char* name, Access access);
  ~Address();
  Address(Address&& other) noexcept;
  Address& operator=(Address&&) = delete;

  std::uint64_t value() const { return value_; }
  // Bytes of the object, if it is known.
  std::optional<std::uint64_t> size_bytes() const { return size_bytes_; }
  // Refused when the object is known to hold less than `size` bytes.
  void CheckHolds(std::uint64_t size, const char* name) const;
  // Whether something keeps the memory alive that has to outlive an asynchronous copy.
  bool owns() const { return buffer_.obj != nullptr || owner_.is_valid(); }

 private:
  bool ReadBuffer(nb::handle object, const char* name, Access access);
  bool ReadArrayInterface(nb::handle object, const char* name, Access access);
  bool ReadDataPointer(nb::handle object, const char* name);
  bool ReadDlpack(nb::handle object, const char* name, Access access);

  std::uint64_t value_ = 0;
  std::optional<std::uint64_t> size_bytes_;
  Py_buffer buffer_{};
  nb::object owner_;
};

// Numbers: a one-dimensional contiguous array of 64-bit ints, taken without a copy, or a list or tuple of ints.
class NumberList {
 public:
  // TypeError: neither. Refused: a number below 0 or above 2^64 - 1.
  NumberList(nb::handle object, const char* name);
  ~NumberList();
  NumberList(const NumberList&) = delete;
  NumberList& operator=(const NumberList&) = delete;

  const std::uint64_t* data() const { return data_; }
  std::uint64_t size() const { return size_; }

 protected:
  NumberList() = default;
  bool ReadArray(nb::handle object, const char* name);
  // The elements of a list or tuple, with room for as many in numbers_. TypeError: it is neither.
  nb::object Items(nb::handle object, const char* name, const char* what);

  const std::uint64_t* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::vector<std::uint64_t> numbers_;
  Py_buffer buffer_{};
};

// The same for addresses: a list's elements may be whatever Address takes.
class AddressList : public NumberList {
 public:
  AddressList(nb::handle object, const char* name, Access access);

  // Refused when element k is an object of less than sizes[k] bytes. REQUIRES: `sizes` is as long as this.
  void CheckHolds(const NumberList& sizes, const char* name) const;
  // Moves what keeps the elements' memory alive to `owners`.
  void MoveOwners(std::vector<Address>& owners);

 private:
  std::vector<Address> objects_;             // the elements that are no ints
  std::vector<std::uint64_t> object_index_;  // and where they stand
};

}  // namespace memfabric::python

namespace nanobind::detail {

template <typename T>
struct type_caster<memfabric::python::Int<T>> {
  NB_TYPE_CASTER(memfabric::python::Int<T>, const_name("int"))

  bool from_python(handle source, std::uint32_t, cleanup_list*) noexcept {
    std::uint64_t bits = 0;
    value.source = source;
    if (!memfabric::python::ReadInt(source, static_cast<std::int64_t>(std::numeric_limits<T>::min()),
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
struct type_caster<memfabric::python::Flag> {
  NB_TYPE_CASTER(memfabric::python::Flag, const_name("bool"))

  bool from_python(handle source, std::uint32_t, cleanup_list*) noexcept {
    if (!PyLong_Check(source.ptr())) return false;
    value.value = PyObject_IsTrue(source.ptr()) == 1;
    return true;
  }
};

}  // namespace nanobind::detail
