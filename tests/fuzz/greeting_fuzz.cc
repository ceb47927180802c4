// What either end of a store's connection says first comes from strangers. No bytes may crash what
// looks at them, and what is read as a server's goodbye it must be able to say again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "store/tls/greeting.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace memfabric::store;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)LooksLikeTls(bytes);
  if (Shown(bytes).size() > 4 * 40) std::abort();
  auto goodbye = ReadGoodbye(bytes);
  if (!goodbye.has_value()) return 0;
  if (!LooksLikeHttp2(bytes)) std::abort();
  auto again = ReadGoodbye(GoodbyeFrames(*goodbye));
  if (!again.has_value() || again->for_good != goodbye->for_good || again->why != goodbye->why)
    std::abort();
  return 0;
}
