// memory/device.h: where device memory (HBM) comes from. A backend lists the devices of one kind
// that this machine has.
//
// Device memory on a machine without devices is host memory of the host backend (memory/host/), so
// that programs which ask for HBM run everywhere; the name says so.
//
// Owner: the runtime, one a process. Threads: any.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace memfabric {

struct Device {
  unsigned id = 0;  // what programs pass as device_id
  // the node near it: its memory comes from there, or the host buffers that serve it
  unsigned numa_node = 0;
  std::uint64_t bytes = 0;
  std::string name;
};

class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;

  virtual std::string_view name() const = 0;  // "host"
  virtual std::vector<Device> devices() const = 0;
  // The device that `id` stands for, which may be one that devices() lists under another id.
  // InvalidArgument names the range.
  virtual Result<Device> Find(unsigned id) const = 0;
};

}  // namespace memfabric
