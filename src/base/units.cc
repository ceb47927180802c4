#include "base/units.h"

#include <fmt/core.h>

#include <array>
#include <utility>

namespace memfabric {

std::string SizeText(std::uint64_t bytes) {
  constexpr std::array<std::pair<std::uint64_t, const char*>, 4> kUnits{
      {{1_TiB, "TiB"}, {1_GiB, "GiB"}, {1_MiB, "MiB"}, {1_KiB, "KiB"}}};
  for (const auto& [unit, name] : kUnits) {
    if (bytes < unit) continue;
    if (bytes % unit == 0) return fmt::format("{} {}", bytes / unit, name);
    if (bytes % (unit / 4) == 0)
      return fmt::format("{:.2f} {}", static_cast<double>(bytes) / static_cast<double>(unit), name);
  }
  return fmt::format("{} bytes", bytes);
}

}  // namespace memfabric
