#include "memory/host/devices.h"

#include <utility>

#include "base/log.h"

namespace memfabric::host {
namespace {

constexpr unsigned kMaxDeviceId = 65535;  // docs/contract/python.md §2

class Devices final : public DeviceBackend {
 public:
  explicit Devices(std::vector<NumaNode> nodes) : nodes_(std::move(nodes)) {
    CHECK(!nodes_.empty());
  }

  std::string_view name() const override { return "host"; }

  std::vector<Device> devices() const override {
    std::vector<Device> all;
    for (unsigned index = 0; index < nodes_.size(); ++index)
      all.push_back(At(index, nodes_[index]));
    return all;
  }

  Result<Device> Find(unsigned id) const override {
    if (id > kMaxDeviceId)
      return InvalidArgument("device {} is not from 0 to {}", id, kMaxDeviceId);
    return At(id, nodes_[id % nodes_.size()]);
  }

 private:
  static Device At(unsigned id, const NumaNode& node) {
    return {id, node.id, node.bytes, fmt::format("host memory of NUMA node {}", node.id)};
  }

  const std::vector<NumaNode> nodes_;
};

}  // namespace

std::unique_ptr<DeviceBackend> MakeDevices(std::vector<NumaNode> nodes) {
  return std::make_unique<Devices>(std::move(nodes));
}

}  // namespace memfabric::host
