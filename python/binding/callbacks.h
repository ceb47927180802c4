// binding/callbacks.h: Python functions that the library calls: the logger, each pool's group event
// handler, each engine's peer-down callback.
//
// They are called with the GIL, from the library's threads for them; what they raise goes to
// sys.unraisablehook. None is called once the interpreter goes down.

#pragma once

#include <memfabric/smem_bm.h>
#include <nanobind/nanobind.h>

#include <cstdint>

namespace memfabric::python {

namespace nb = nanobind;

// Replaces the logger; None restores stderr.
std::int32_t SetLogger(nb::handle function);

// A Python function, empty for none, that the library gets by a number: a call that comes late
// finds none. Owner: the object whose callback it is. Threads: with the GIL.
class CallbackFunction {
 public:
  nb::object function;

  CallbackFunction();
  ~CallbackFunction();
  CallbackFunction(const CallbackFunction&) = delete;
  CallbackFunction& operator=(const CallbackFunction&) = delete;

  void* context() const { return reinterpret_cast<void*>(number_); }
  // The function that a context stands for; empty when there is none.
  static nb::object Find(void* context);

 private:
  std::uintptr_t number_;
};

// For smem_bm_set_group_event_handler.
void TellGroupEvent(smem_bm_t pool, std::uint32_t rank, smem_bm_group_event event,
                    void* context) noexcept;
// For smem_trans_set_peer_down_callback.
void TellPeerDown(const char* peer, void* context) noexcept;

// For atexit: ends all callbacks and closes the library, so that nothing of it runs while the
// interpreter goes away.
void Close();

}  // namespace memfabric::python
