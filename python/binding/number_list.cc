#include "number_list.h"

#include <nanobind/ndarray.h>

#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "interpreter.h"

namespace memfabric::python {
namespace {

constexpr std::uint64_t kItemsBetweenSignals = 1 << 16;

std::string Element(const char* name, std::uint64_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

void CheckDimensions(int dimensions, const char* name) {
  if (dimensions != 1)
    WrongType(name, "the array has " + std::to_string(dimensions) + " dimensions, not one");
}

// Element `index` isn't of ints: `what` it is.
[[noreturn]] void NoInts(const char* name, const std::string& what) {
  WrongType(Element(name, 0).c_str(), "the array's elements are " + what + ", not ints");
}

std::uint64_t Swapped(std::uint64_t bits, std::size_t bytes) {
  return __builtin_bswap64(bits) >> (64 - 8 * bytes);
}

// The elements of what iterates, one by one: an iteration without end stays interruptible.
nb::object Iterated(nb::handle iterator) {
  nb::object items = nb::steal(PyList_New(0));
  if (!items.is_valid()) throw nb::python_error();
  for (std::uint64_t k = 1;; ++k) {
    PyObject* item = InPython([&] { return PyIter_Next(iterator.ptr()); });
    if (item == nullptr) break;
    int failed = PyList_Append(items.ptr(), item);
    InPython([&] { Py_DECREF(item); });
    if (failed != 0 ||
        (k % kItemsBetweenSignals == 0 && InPython([] { return PyErr_CheckSignals(); }) != 0))
      throw nb::python_error();
  }
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
  return nb::steal(PyList_AsTuple(items.ptr()));
}

// One int of a list that is no array. Raises what its __index__ raises, but names the element where
// it is no int.
std::uint64_t Number(nb::handle item, const char* name, std::uint64_t index) {
  nb::object number = nb::borrow(item);
  if (!PyLong_Check(item.ptr())) {
    PyObject* made =
        PyIndex_Check(item.ptr()) ? InPython([&] { return PyNumber_Index(item.ptr()); }) : nullptr;
    if (made == nullptr) {
      if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_TypeError))
        throw nb::python_error();
      PyErr_Clear();
      WrongType(Element(name, index).c_str(), "expected an int, not " + TypeName(item));
    }
    number = nb::steal(made);
  }
  std::uint64_t value = 0;
  bool fits = false;
  (void)ReadInt(number, 0, UINT64_MAX, &value, &fits);
  if (!fits) RefuseNumber(number, Element(name, index).c_str(), "0", std::to_string(UINT64_MAX));
  return value;
}

}  // namespace

// Ints in memory, by whatever protocol.
struct NumberList::Array {
  const char* first;
  std::int64_t count;
  std::int64_t stride;
  std::int64_t indirection;  // a buffer's suboffset; -1: the element itself is there
  std::size_t item_bytes;    // 1, 2, 4 or 8
  bool is_signed;
  bool is_swapped;

  // Takes the format of a buffer's element; false when it is none of an int.
  bool SetFormat(const char* format, std::int64_t bytes) {
    if (format == nullptr) format = "B";
    is_swapped = *format == '>' || *format == '!';
    if (*format != '\0' && std::strchr("@=<>!^", *format) != nullptr) ++format;
    item_bytes = static_cast<std::size_t>(bytes);
    is_signed = *format != '\0' && std::strchr("bhilqn", *format) != nullptr;
    bool is_int =
        *format != '\0' && format[1] == '\0' && std::strchr("bBhHiIlLqQnNP", *format) != nullptr;
    return is_int && bytes >= 1 && bytes <= 8 && std::has_single_bit(item_bytes);
  }
  // The 64 bits of element k, sign extended.
  std::uint64_t At(std::int64_t k) const {
    const char* place = first + k * stride;
    if (indirection >= 0) {
      std::memcpy(&place, place, sizeof(place));
      place += indirection;
    }
    std::uint64_t bits = 0;
    std::memcpy(&bits, place, item_bytes);
    if (is_swapped) bits = Swapped(bits, item_bytes);
    if (is_signed && item_bytes < 8 && bits >> (8 * item_bytes - 1) != 0)
      bits |= ~std::uint64_t{0} << (8 * item_bytes);
    return bits;
  }
  bool LiesAsListed() const {
    bool dense = stride == 8 || count < 2;
    return item_bytes == 8 && dense && !is_swapped && indirection < 0 &&
           reinterpret_cast<std::uintptr_t>(first) % alignof(std::uint64_t) == 0;
  }
};

static_assert(std::endian::native == std::endian::little);

NumberList::NumberList(nb::handle object, const char* name) {
  if (ReadArray(object, name)) return;
  nb::object items = Items(object, name, "ints");
  for (std::uint64_t k = 0; k < size_; ++k) {
    numbers_[k] = Number(PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(k)), name, k);
  }
  data_ = numbers_.data();
}

nb::object NumberList::Items(nb::handle object, const char* name, const char* what) {
  nb::object items;
  if (PyList_Check(object.ptr()) || PyTuple_Check(object.ptr())) {
    // reading an element may run code that changes a list
    items = nb::steal(PySequence_Tuple(object.ptr()));
  } else {
    nb::object iterator = nb::steal(InPython([&] { return PyObject_GetIter(object.ptr()); }));
    if (!iterator.is_valid()) {
      if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw nb::python_error();
      PyErr_Clear();
      WrongType(name, std::string("expected ") + what +
                          " in a list, an array or whatever else iterates, not " +
                          TypeName(object));
    }
    items = Iterated(iterator);
  }
  if (!items.is_valid()) throw nb::python_error();
  size_ = static_cast<std::uint64_t>(PyTuple_GET_SIZE(items.ptr()));
  numbers_.resize(size_);
  return items;
}

bool NumberList::ReadArray(nb::handle object, const char* name) {
  if (PyList_Check(object.ptr()) || PyTuple_Check(object.ptr())) return false;
  return PyObject_CheckBuffer(object.ptr()) ? ReadBuffer(object, name) : ReadDlpack(object, name);
}

bool NumberList::ReadBuffer(nb::handle object, const char* name) {
  if (!buffer_.Get(object, PyBUF_FULL_RO)) {
    nb::python_error error;
    if (!error.matches(PyExc_Exception)) throw error;
    WrongType(name, TypeName(object) + " gives no array of ints: " + error.what());
  }
  const Py_buffer& view = buffer_.view;
  // Of Python objects, or of ctypes pointers.
  bool objects =
      view.ndim == 1 && view.format != nullptr && std::strchr("O&X", *view.format) != nullptr;
  bool iterates = view.ndim == 0 && Py_TYPE(object.ptr())->tp_iter != nullptr;
  if (objects || iterates) {
    buffer_.Release();
    return false;
  }
  CheckDimensions(view.ndim, name);
  Array array{};
  if (!array.SetFormat(view.format, view.itemsize))
    NoInts(name, view.format == nullptr ? "of " + std::to_string(view.itemsize) + " bytes"
                                        : "'" + std::string(view.format) + "'");
  // A shape that is null stands for one dimension, strides that are null for elements one after the
  // other.
  array.first = static_cast<const char*>(view.buf);
  array.count = view.shape != nullptr ? view.shape[0] : view.len / view.itemsize;
  array.stride = view.strides != nullptr ? view.strides[0] : view.itemsize;
  array.indirection = view.suboffsets != nullptr ? view.suboffsets[0] : -1;
  if (array.LiesAsListed()) {
    TakeInPlace(array, name);
  } else {
    Copy(array, name);
    buffer_.Release();
  }
  return true;
}

bool NumberList::ReadDlpack(nb::handle object, const char* name) {
  if (PyObject_HasAttrString(object.ptr(), "__dlpack__") == 0) return false;
  nb::ndarray<nb::ro, nb::device::cpu> tensor;
  if (!nb::try_cast(object, tensor)) return false;
  CheckDimensions(static_cast<int>(tensor.ndim()), name);
  nb::dlpack::dtype type = tensor.dtype();
  bool is_signed = type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Int);
  bool is_int = is_signed || type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::UInt);
  Array array{};
  if (!is_int || type.lanes != 1 || !array.SetFormat(is_signed ? "q" : "Q", type.bits / 8)) {
    NoInts(name, "of DLPack's type " + std::to_string(type.code) + " with " +
                     std::to_string(type.bits) + " bits");
  }
  array.first = static_cast<const char*>(tensor.data());
  array.count = static_cast<std::int64_t>(tensor.shape(0));
  array.stride = tensor.stride(0) * static_cast<std::int64_t>(array.item_bytes);
  array.indirection = -1;
  Copy(array, name);  // the tensor ends with this function
  return true;
}

void NumberList::TakeInPlace(const Array& array, const char* name) {
  size_ = static_cast<std::uint64_t>(array.count);
  data_ = reinterpret_cast<const std::uint64_t*>(array.first);
  std::uint64_t signs = 0;
  for (std::uint64_t k = 0; k < size_ && array.is_signed; ++k) signs |= data_[k];
  if (signs >> 63 != 0) RefuseNegative(name);
}

void NumberList::Copy(const Array& array, const char* name) {
  size_ = static_cast<std::uint64_t>(array.count);
  numbers_.resize(size_);
  data_ = numbers_.data();
  std::uint64_t signs = 0;
  for (std::uint64_t k = 0; k < size_; ++k)
    signs |= numbers_[k] = array.At(static_cast<std::int64_t>(k));
  if (array.is_signed && signs >> 63 != 0) RefuseNegative(name);
}

void NumberList::RefuseNegative(const char* name) const {
  std::uint64_t k = 0;
  while (data_[k] >> 63 == 0) ++k;
  RefuseNumber(nb::int_(static_cast<std::int64_t>(data_[k])), Element(name, k).c_str(), "0",
               std::to_string(UINT64_MAX));
}

AddressList::AddressList(nb::handle object, const char* name, Access access) {
  if (ReadArray(object, name)) return;
  nb::object items = Items(object, name, "addresses");
  for (std::uint64_t k = 0; k < size_; ++k) {
    nb::handle item = PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(k));
    bool fits = false;
    if (PyLong_Check(item.ptr()) && ReadInt(item, 0, UINT64_MAX, &numbers_[k], &fits) && fits)
      continue;
    Address address(item, Element(name, k).c_str(), access);
    numbers_[k] = address.value();
    if (!address.owns()) continue;
    objects_.push_back(std::move(address));
    object_index_.push_back(k);
  }
  data_ = numbers_.data();
}

void AddressList::CheckHolds(const NumberList& sizes, const char* name) const {
  for (std::size_t k = 0; k < objects_.size(); ++k) {
    objects_[k].CheckHolds(sizes.data()[object_index_[k]], Element(name, object_index_[k]).c_str());
  }
}

void AddressList::MoveOwners(std::vector<Address>& owners) {
  for (Address& object : objects_) owners.push_back(std::move(object));
  objects_.clear();
  object_index_.clear();
}

}  // namespace memfabric::python
