// binding/memory.h: the library's memory in Python: an object that keeps it, and memoryviews of
// that.

#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>

namespace memfabric::python {

namespace nb = nanobind;

class Memory {
 public:
  // `give_back(token)` is called once nobody has it any more.
  Memory(void* address, std::uint64_t size_bytes, void* token, void (*give_back)(void*))
      : address_(address), size_bytes_(size_bytes), token_(token), give_back_(give_back) {}
  ~Memory() { give_back_(token_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* address() const { return address_; }
  std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  void* const address_;
  const std::uint64_t size_bytes_;
  void* const token_;
  void (*const give_back_)(void*);
};

// Before the others: the Python type.
void BindMemory(nb::module_& module);

nb::object HolderOf(std::unique_ptr<Memory> memory);
// A writable memoryview that keeps the memory.
nb::object ViewOf(std::unique_ptr<Memory> memory);

}  // namespace memfabric::python
