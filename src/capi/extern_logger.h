// capi/extern_logger.h: the user's logger, the lines that wait for it, and who calls it.
//
// A logger may take as long as it likes; a thread of the library's that logs may not. So lines wait
// in a queue, and the logger gets them in order, one at a time: from a thread of its own, or from a
// public call that is about to return, whichever comes first. So the lines of a call have reached a
// logger that isn't stalled by the time that the call returns. What doesn't fit the queue is
// dropped; a line says how much. A line that the logger itself causes is dropped.
//
// A gate is for language bindings: the logger's own thread enters it before it takes a line. Who
// calls Deliver is inside then.
//
// A forked child keeps the logger; the lines that wait are its parent's.
//
// Owner: the process. Threads: any.

#pragma once

#include <memfabric/smem.h>

#include <atomic>
#include <cstdint>

namespace memfabric::capi {

// Lines that wait for the logger, or are in it. One load tells a call whether there is anything to
// do.
extern std::atomic<std::uint32_t> lines_waiting;

// Null restores stderr. What waits goes to the former logger first, unless that is stalled: then it
// is dropped.
void SetExternLogger(smem_extern_logger logger, smem_logger_gate gate);

enum class Delivery { kDone, kUnderWay, kStalled };

// Calls the logger for all lines that wait. UnderWay: another thread is calling it; Stalled: and
// has been in it for long.
Delivery DeliverLines();

// Waits until what waits now has been delivered by other threads; for 100 ms at most, and not for a
// stalled logger.
void AwaitLines();

// For the end of a public call: delivers, unless the logger has a gate: then it is the binding that
// does it.
void SettleLines();

}  // namespace memfabric::capi
