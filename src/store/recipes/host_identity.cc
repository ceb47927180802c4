#include "store/recipes/host_identity.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>

namespace memfabric::store {

std::string HostIdentity() {
  if (const char* given = std::getenv("MEMFABRIC_HOST_ID"); given != nullptr && *given != '\0') return given;
  std::string boot_id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
  if (boot_id.empty()) boot_id = HostName();  // no /proc: the name is the best there is
  struct stat network {};
  if (stat("/proc/self/ns/net", &network) != 0) return boot_id;
  return fmt::format("{}/{}", boot_id, network.st_ino);
}

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

}  // namespace memfabric::store
