// memory/host/devices.h: the NUMA nodes of this machine as devices. A value behind a pointer; any
// thread.

#pragma once

#include <memory>
#include <vector>

#include "memory/device.h"
#include "memory/numa.h"

namespace memfabric::host {

// Every id from 0 to 65535 stands for a node: nodes[id % nodes.size()]. REQUIRES: nodes is not
// empty.
std::unique_ptr<DeviceBackend> MakeDevices(std::vector<NumaNode> nodes = NumaNodes());

}  // namespace memfabric::host
