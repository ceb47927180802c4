#include "memory.h"

namespace memfabric::python {
namespace {

int GetBuffer(PyObject* self, Py_buffer* buffer, int flags) {
  const auto* memory = nb::inst_ptr<Memory>(self);
  return PyBuffer_FillInfo(buffer, self, memory->address(),
                           static_cast<Py_ssize_t>(memory->size_bytes()), /*readonly=*/0, flags);
}

PyType_Slot kSlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(GetBuffer)}, {0, nullptr}};

}  // namespace

void BindMemory(nb::module_& module) {
  nb::class_<Memory>(module, "_Memory", nb::type_slots(kSlots), "What memoryviews keep alive.");
}

nb::object HolderOf(std::unique_ptr<Memory> memory) {
  return nb::cast(memory.release(), nb::rv_policy::take_ownership);
}

nb::object ViewOf(std::unique_ptr<Memory> memory) {
  nb::object view = nb::steal(PyMemoryView_FromObject(HolderOf(std::move(memory)).ptr()));
  if (!view.is_valid()) throw nb::python_error();
  return view;
}

}  // namespace memfabric::python
