// runtime/runtime.h: what a process has once, whatever services it uses: the reactor, the
// transports, the threads that help with copies, the devices. Built here and passed down; nothing
// below knows that there is only one.
//
// Owner: capi/library.h. Threads: the accessors from any; what they return says its own rules.

#pragma once

#include <memory>
#include <span>
#include <vector>

#include "copy/thread_team.h"
#include "memory/device.h"
#include "runtime/callback_thread.h"
#include "transport/reactor.h"
#include "transport/transport.h"

namespace memfabric {

class Runtime {
 public:
  static Result<std::unique_ptr<Runtime>> Create();

  transport::Reactor& reactor() { return *reactor_; }
  // In the order of preference.
  std::span<const std::unique_ptr<transport::Transport>> transports() const { return transports_; }
  const DeviceBackend& devices() const { return *devices_; }
  copy::ThreadTeam& team() { return team_; }
  // Runs the users' callbacks, in order, without locks held.
  CallbackThread& callbacks() { return callbacks_; }

  Runtime(std::unique_ptr<transport::Reactor> reactor,
          std::vector<std::unique_ptr<transport::Transport>> transports,
          std::unique_ptr<DeviceBackend> devices, unsigned helpers);

 private:
  std::unique_ptr<transport::Reactor> reactor_;  // outlives the transports
  std::vector<std::unique_ptr<transport::Transport>> transports_;
  std::unique_ptr<DeviceBackend> devices_;
  copy::ThreadTeam team_;
  CallbackThread callbacks_;
};

// default_backends.cc: the only file that names every backend.
std::vector<std::unique_ptr<transport::Transport>> AvailableTransports(transport::Reactor& reactor);
std::unique_ptr<DeviceBackend> AvailableDevices();

}  // namespace memfabric
