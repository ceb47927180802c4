#include "store/recipes/host_identity.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>

#include "base/addresses.h"

namespace memfabric::store {

std::string BootAndNetwork() {
  std::string boot_id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
  if (boot_id.empty()) boot_id = HostName();  // no /proc: the name is the best there is
  struct stat network {};
  if (stat("/proc/self/ns/net", &network) != 0) return boot_id;
  return fmt::format("{}/{}", boot_id, network.st_ino);
}

std::string HostIdentity() {
  if (const char* given = std::getenv("MEMFABRIC_HOST_ID"); given != nullptr && *given != '\0')
    return given;
  return BootAndNetwork();
}

std::string HostWitness() {
  std::string witness = BootAndNetwork();
  auto addresses = InterfaceAddresses();
  if (!addresses.ok()) return witness;
  // IPv6 addresses come and go by themselves.
  for (const InterfaceAddress& each : *addresses)
    if (each.up && !each.loopback && !each.container && AddressBytes(each.host).size() == 4)
      witness += ' ' + each.host;
  return witness;
}

bool IsThisHost(std::string_view witness) {
  if (witness.empty()) return true;  // it isn't said
  const std::string own = HostWitness();
  const std::string_view identity = witness.substr(0, witness.find(' '));
  if (identity != std::string_view(own).substr(0, own.find(' '))) return false;
  for (std::string_view left = witness.substr(identity.size()); !left.empty();) {
    const std::string_view next = left.substr(0, left.find(' ', 1));  // with the blank before it
    left.remove_prefix(next.size());
    if ((own + ' ').find(std::string(next) + ' ') == std::string::npos) return false;
  }
  return true;
}

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

}  // namespace memfabric::store
