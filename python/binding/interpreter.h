// binding/interpreter.h: threads and the interpreter's end.
//
// From the interpreter's end on, Python (before 3.14) ends any other thread that asks for the GIL,
// by unwinding its stack: through frames of C++ that may not be unwound, and past destructors that
// would touch Python objects without the GIL. No frame of this binding is unwound so: where a
// thread takes the GIL or runs Python code, it stays for ever instead.

#pragma once

#include <Python.h>
#include <cxxabi.h>

#include <utility>

namespace memfabric::python {

// Waits for the end of the process.
[[noreturn]] void Park();

// Whether the interpreter has begun to go away.
bool Finalizing();

// Runs `body`, which may run Python code or wait for the GIL. Everything in it but the call itself
// belongs outside.
template <typename Body>
decltype(auto) InPython(Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (abi::__forced_unwind&) {
    Park();
  }
}

// Takes the GIL back after PyEval_SaveThread.
void TakeGil(PyThreadState* state);

}  // namespace memfabric::python
