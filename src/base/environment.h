// base/environment.h: switches in the environment. Any thread, as getenv.

#pragma once

#include <cstdlib>
#include <string_view>

namespace memfabric {

// Whether the variable is 1.
inline bool EnvironmentAsks(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace memfabric
