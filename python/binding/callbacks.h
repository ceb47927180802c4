// binding/callbacks.h: Python functions that the library calls: the logger and each pool's group event handler.
//
// They are called with the GIL, on whatever thread the library calls from; what they raise goes to sys.unraisablehook. None is
// called once the interpreter goes down.

#pragma once

#include <memfabric/smem_bm.h>
#include <nanobind/nanobind.h>

#include <cstdint>

namespace memfabric::python {

namespace nb = nanobind;

// Replaces the logger; None restores stderr.
std::int32_t SetLogger(nb::handle function);

// The function behind a pool's handler, empty for none; its address is the handler's context, so it lives as long as the pool.
// Guarded by the GIL.
struct GroupEventFunction {
  nb::object function;

  static void Call(smem_bm_t pool, std::uint32_t rank, smem_bm_group_event event, void* context) noexcept;
};

// For atexit: ends all callbacks and closes the library, so that nothing of it runs while the interpreter goes away.
void Close();

}  // namespace memfabric::python
