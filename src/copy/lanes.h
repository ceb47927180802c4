// copy/lanes.h: copies that were asked for with the asynchronous flag, so that a slow peer delays
// only what concerns it.
//
// Each copy says which ranks it concerns and what memory it reads and writes. It waits for every
// earlier copy that concerns one of its ranks, writes what it reads or writes, or reads what it
// writes. So copies with one rank keep the order of submission, and so do copies that share memory
// of this process; others run side by side.
//
// Owner: the pool. Threads: any; one mutex, never held while a copy runs. Threads of its own run
// the copies: one, and another for each that turns out to be slow, kMostThreads at most. They sleep
// when there is nothing to do.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace memfabric::copy {

// Bytes of one address space.
struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  // one past the last
  bool Overlaps(const ByteRange& other) const { return begin < other.end && other.begin < end; }
};

// What a copy concerns; in any order, with or without repetitions.
struct Footprint {
  std::vector<std::uint32_t> ranks;  // at least one
  std::vector<ByteRange> reads;
  std::vector<ByteRange> writes;
};

class Lanes {
 public:
  static constexpr std::size_t kMostThreads = 64;

  Lanes();
  ~Lanes();  // Runs what is queued to its end, then joins.

  // Runs `work` in its turn. On the caller's thread if the machine refuses any other.
  void Submit(Footprint footprint, std::function<Status()> work);
  // Waits for all that was submitted before this call, by any thread; returns the first error, in
  // the order of submission, among what ended since the last Wait and forgets it. DeadlineExceeded
  // leaves the work queued; Interrupted as base/wait.h.
  Status Wait(Deadline deadline);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace memfabric::copy
