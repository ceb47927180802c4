// transport/mapped/chunk_message.h: what two ends of a mapped link say to each other about memory
// that is to be taken. The body of a DATA message; a reason follows where it is a refusal.

#pragma once

#include <cstdint>

namespace memfabric::transport {

struct ChunkMessage {
  // The values travel to the peer, so they never change their meaning.
  enum Type : std::uint64_t { kWant = 1, kBacked = 2, kRefused = 3 };
  std::uint64_t type;
  std::uint64_t zone;
  std::uint64_t first;  // of the chunks
  std::uint64_t count;
};

}  // namespace memfabric::transport
