// binding/number_list.h: what Python passes as a list of sizes or addresses.
//
// Arrays of 64-bit ints are taken where they lie, other arrays of ints are read element by element,
// and whatever else iterates is iterated over, which may run Python code.
//
// Threads: everything here needs the GIL. A list that was taken where it lies keeps its buffer
// exported while it lives.

#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "arguments.h"

namespace memfabric::python {

class NumberList {
 public:
  // TypeError: it doesn't iterate, or an element, which the message names, is no int. Refused: a
  // number below 0 or above 2^64 - 1. What the iteration raises is raised.
  NumberList(nb::handle object, const char* name);
  NumberList(const NumberList&) = delete;
  NumberList& operator=(const NumberList&) = delete;

  const std::uint64_t* data() const { return data_; }
  std::uint64_t size() const { return size_; }

 protected:
  NumberList() = default;
  // One dimension of ints that lie in memory; false when the object has none and may be iterated
  // over.
  bool ReadArray(nb::handle object, const char* name);
  // The elements of what iterates, with room for as many in numbers_.
  nb::object Items(nb::handle object, const char* name, const char* what);

  const std::uint64_t* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::vector<std::uint64_t> numbers_;

 private:
  struct Array;
  void TakeInPlace(const Array& array, const char* name);
  void Copy(const Array& array, const char* name);
  [[noreturn]] void RefuseNegative(const char* name) const;
  bool ReadBuffer(nb::handle object, const char* name);
  bool ReadDlpack(nb::handle object, const char* name);

  Buffer buffer_;
};

// The same for addresses: an element of what iterates may be whatever Address takes.
class AddressList : public NumberList {
 public:
  AddressList(nb::handle object, const char* name, Access access);

  // Refused when element k is an object of less than sizes[k] bytes. REQUIRES: `sizes` is as long
  // as this.
  void CheckHolds(const NumberList& sizes, const char* name) const;
  // Moves what keeps the elements' memory alive to `owners`.
  void MoveOwners(std::vector<Address>& owners);

 private:
  std::vector<Address> objects_;             // the elements that are no ints
  std::vector<std::uint64_t> object_index_;  // and where they stand
};

}  // namespace memfabric::python
