// trans/protocol.h: what engines of different versions must agree on.

#pragma once

#include <cstdint>
#include <string_view>

namespace memfabric::trans {

constexpr std::uint32_t kProtocol = 1;
// what transports call the company of all engines
constexpr std::string_view kPoolName = "transfer/1";

}  // namespace memfabric::trans
