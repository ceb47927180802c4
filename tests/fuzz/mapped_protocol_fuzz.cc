// Messages of peers on the same host, and the addresses they publish: nothing may crash the
// parsers, and what they accept is exactly what the encoders make: the encoded message is the bytes
// that were parsed.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "transport/meeting/peer_protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace memfabric::transport::meeting;
  auto bytes = std::as_bytes(std::span(data, size));
  if (auto message = ParseMessage(bytes); message.ok()) {
    auto again = EncodeMessage(*message);
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) std::abort();
  }
  if (auto advert = ParseAdvert({reinterpret_cast<const char*>(data), size}); advert.ok()) {
    auto again = ParseAdvert(EncodeAdvert(*advert));
    if (!again.ok() || again->socket != advert->socket || again->key != advert->key) std::abort();
  }
  return 0;
}
