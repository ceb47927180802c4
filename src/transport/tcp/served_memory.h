// transport/tcp/served_memory.h: a member's own memory, as its connections serve it to peers.
//
// Shared by the port and its connections. Threads: any; set up before the first connection.

#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "address/window.h"
#include "memory/registered_memory.h"
#include "memory/segment.h"

namespace memfabric::transport::tcp {

struct ServedMemory {
  std::shared_ptr<Window> window;  // keeps the slots; shared with the pool
  std::array<std::byte*, kZones> slots{};
  std::array<const Segment*, kZones> segments{};  // null: nothing there
  RegisteredMemory* registered = nullptr;
  std::function<void(Zone)> on_served;
  // a file of the user's, who may truncate it
  std::array<bool, kZones> lent{};
  // of memory that can't be touched, steady clock
  mutable std::atomic<std::int64_t> next_warning_ns{0};

  void Served(std::size_t zone) const {
    if (on_served) on_served(kAllZones[zone]);
  }
  std::uint64_t allocated_bytes(std::size_t zone) const {
    return segments[zone] == nullptr ? 0 : segments[zone]->allocated_bytes();
  }
  // Keeps registered ranges from being deregistered for as long as `uses` live; false: one isn't
  // registered, and `error` says so. Does nothing, and returns false, if `error` does already.
  bool Acquire(std::span<const iovec> parts, std::vector<RegisteredUse>& uses, Status& error) const;
  // One line for the owner of memory that peers reach and that is not as it should be; at most each
  // ten seconds.
  void Warn(std::string_view peer, const Status& why) const;
};

}  // namespace memfabric::transport::tcp
