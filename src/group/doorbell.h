// group/doorbell.h: waiting for memory that others write: spin for a moment, then sleep until the
// doorbell rings.
//
// Threads: any, several at one doorbell.

#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/status.h"
#include "base/wait.h"
#include "group/control.h"

namespace memfabric::group {

constexpr std::chrono::microseconds kSpin{50};  // no busy loop is longer
// While everybody who may write rings: only for what can't ring, such as deaths and signals.
constexpr std::chrono::milliseconds kLongNap{50};
// While somebody may write who doesn't ring: another host's transport, a kernel of the user's.
constexpr std::chrono::milliseconds kShortNap{1};

struct Patience {
  bool crowded = false;  // more who wait than processors: yield at once
  // at most; shorter at first, for who may write without ringing
  std::chrono::nanoseconds nap = kLongNap;
  Deadline deadline;
};

// Wakes who sleeps at `bell`. REQUIRES: what they wait for was stored before, sequentially
// consistent.
void WakeSleepers(Doorbell& bell);
inline void Ring(Doorbell& bell) {
  if (bell.sleepers.load(std::memory_order_seq_cst) != 0) WakeSleepers(bell);
}

// Sleeps until bell.rings isn't `rings` any more, or `at_most` has passed, or earlier.
void SleepAt(Doorbell& bell, std::uint32_t rings, std::chrono::nanoseconds at_most);

inline void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

// Whether done() is true, or becomes so in less than a microsecond. When `crowded`, who would make
// it so may not even run.
template <typename Done>
bool AwaitEagerly(bool crowded, const Done& done) {
  // a pause takes as long as a line that comes from the next core, so there is none
  constexpr unsigned kTurns = 256;
  for (unsigned turn = 0; turn < (crowded ? 1 : kTurns); ++turn)
    if (done()) return true;
  return false;
}

// Waits until done(), which reads the memory sequentially consistent. Ends with the failure of
// check(), which is asked now and then while done() is false, with DeadlineExceeded, or with
// Interrupted.
template <typename Done, typename Check>
Status Await(Doorbell& bell, const Patience& patience, const Done& done, const Check& check) {
  constexpr unsigned kTurnsALook = 32;  // at the clock
  if (AwaitEagerly(patience.crowded, done)) return Ok();
  TimePoint begin{};
  for (unsigned turn = 1;; ++turn) {
    if (done()) return Ok();
    if (patience.crowded) {
      ::sched_yield();
    } else {
      Relax();  // a yield would give the processor away for a whole slice when others are busy
    }
    if (!patience.crowded && turn % kTurnsALook != 0) continue;
    auto now = std::chrono::steady_clock::now();
    if (begin == TimePoint{}) begin = now;
    if (now - begin >= kSpin) break;
  }
  bell.sleepers.fetch_add(1, std::memory_order_seq_cst);
  Status status;
  TimePoint asked = begin;
  std::chrono::nanoseconds nap = patience.nap >= kLongNap ? patience.nap : kSpin;
  for (;;) {
    std::uint32_t rings = bell.rings.load(std::memory_order_seq_cst);
    if (done()) break;
    status = check();
    if (!status.ok()) break;
    auto now = std::chrono::steady_clock::now();
    if (now >= patience.deadline) {
      status = DeadlineExceeded("the deadline has passed");
      break;
    }
    if (now - asked >= kInterruptPeriod) {
      asked = now;
      if (InterruptRequested()) {
        status = Interrupted(
            "the wait was interrupted: by a signal, or because what it waited on was closed");
        break;
      }
    }
    SleepAt(bell, rings, std::min<std::chrono::nanoseconds>(nap, patience.deadline - now));
    nap = std::min(2 * nap, patience.nap);
  }
  bell.sleepers.fetch_sub(1, std::memory_order_seq_cst);
  return status;
}

}  // namespace memfabric::group
