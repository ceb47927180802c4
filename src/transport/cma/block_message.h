// transport/cma/block_message.h: what two ends of a cma link say to each other about shared blocks.
// The body of a DATA message: the type, then the block's id.

#pragma once

#include <cstddef>
#include <cstdint>

namespace memfabric::transport {

// The values travel to the peer, so they never change their meaning.
enum class BlockMessage : std::uint64_t { kAsk = 1, kGive = 2, kRefuse = 3, kGone = 4 };
constexpr std::size_t kBlockMessageBytes = 16;

}  // namespace memfabric::transport
