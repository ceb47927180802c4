#include "base/next_best.h"

#include "base/environment.h"
#include "base/log.h"

namespace memfabric {

Status UseNextBest(std::string_view missing, std::string_view used) {
  if (EnvironmentAsks("MEMFABRIC_STRICT"))
    return Unsupported("{}, and MEMFABRIC_STRICT=1; {}", missing, used);
  LOG(kWarn, "{}; {}", missing, used);
  return Ok();
}

std::string_view PathOpName(std::uint32_t op) {
  switch (op) {
    case 1: return "SDMA";
    case 2: return "HOST_RDMA";
    case 4: return "HOST_TCP";
    case 8: return "DEVICE_RDMA";
    case 16: return "HOST_URMA";
    case 32: return "HOST_SHM";
    case 64: return "DEVICE_URMA";
    case 128: return "DEVICE_UBOE";
    default: return "?";
  }
}

}  // namespace memfabric
