// Store URLs come from users and from the environment: no text may crash the parser, and what it
// accepts it must be able to say again: the printed URL parses to the same value.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/url.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace memfabric;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (bool allow_port_zero : {false, true}) {
    if (auto url = ParseStoreUrl(text, allow_port_zero); url.ok()) {
      auto again = ParseStoreUrl(url->ToString(), allow_port_zero);
      if (!again.ok() || !(*again == *url)) std::abort();
    }
    if (auto address = ParseHostPort(text, allow_port_zero); address.ok()) {
      auto again = ParseHostPort(address->ToString(), allow_port_zero);
      if (!again.ok() || !(*again == *address)) std::abort();
    }
  }
  return 0;
}
