// bm/orphans.h: memory of ranks that are gone, as this process still has it mapped, and when it is
// given back. The machine has it back once nobody maps it any more.
//
// A rank that left: at once. One that died or was given up: MEMFABRIC_ORPHAN_SECONDS later, so that
// programs can save what it held. Given back means that its slot becomes zero pages of this
// process's own (Window::Empty), after copies that run have ended, and as soon as no view of it is
// open.
//
// Owner: the pool; shared with timers, which do nothing after Close. Threads: any; one mutex. The
// giving is done on the reactor's thread, and in Close.

#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "address/window.h"
#include "base/read_gate.h"
#include "transport/reactor.h"
#include "transport/transport.h"

namespace memfabric::bm {

class Orphans : public std::enable_shared_from_this<Orphans> {
 public:
  // Copies run inside `gate`; it and `reactor` are there until Close. REQUIRES: made by
  // make_shared.
  Orphans(std::shared_ptr<Window> window, const PoolLayout& layout, ReadGate& gate,
          transport::Reactor& reactor, std::chrono::seconds keep);
  // Gives all of it back now. REQUIRES: no copy runs, and none will. Later calls do nothing.
  void Close();

  // Copies find the rank's slot no more, of which `mapped` was mapped.
  void Left(Rank rank, const transport::ZoneBytes& mapped) {
    Abandon(rank, mapped, std::chrono::seconds(0));
  }
  void Died(Rank rank, const transport::ZoneBytes& mapped) { Abandon(rank, mapped, keep_); }
  // A rank that died has left, which came out later.
  void HasLeft(Rank rank) { Abandon(rank, {}, std::chrono::seconds(0)); }
  // Another life of the rank is about to be mapped, and copies into the former have ended. On the
  // reactor's thread.
  void Arriving(Rank rank);
  // It is: `mapped` of its slot. What was mapped beyond that is given back.
  void Arrived(Rank rank, const transport::ZoneBytes& mapped);

 private:
  struct Slot {
    transport::ZoneBytes mapped{};  // of a life that is gone
    std::uint64_t turn = 0;         // which timer counts
    std::optional<ReadGate::Grace> grace;
  };

  void Abandon(Rank rank, const transport::ZoneBytes& mapped, std::chrono::milliseconds keep);
  // REQUIRES of these: mutex_.
  void Schedule(Rank rank, std::chrono::milliseconds wait);
  void StartTimer(Rank rank, std::uint64_t turn, std::chrono::milliseconds wait);
  void GiveBack(Rank rank, const transport::ZoneBytes& from);
  void OnTimer(Rank rank, std::uint64_t turn);  // takes mutex_

  const std::shared_ptr<Window> window_;  // shared with views
  const PoolLayout layout_;
  ReadGate& gate_;
  transport::Reactor& reactor_;
  const std::chrono::seconds keep_;
  std::mutex mutex_;  // guards what follows
  bool closed_ = false;
  std::vector<Slot> slots_;  // by rank
};

// MEMFABRIC_ORPHAN_SECONDS, 0 to 86400; 60 when it is unset or no such number.
std::chrono::seconds OrphanPeriod();

}  // namespace memfabric::bm
