#include "interpreter.h"

#include <unistd.h>

namespace memfabric::python {

void Park() {
  while (true) pause();
}

bool Finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

void TakeGil(PyThreadState* state) {
  InPython([&] { PyEval_RestoreThread(state); });
}

}  // namespace memfabric::python
