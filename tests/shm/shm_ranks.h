// tests/shm/shm_ranks.h: ranks that have, or create, an object together.

#pragma once

#include <string>
#include <vector>

#include "cluster/rank_process.h"

namespace memfabric::cluster {

using Ranks = std::vector<std::unique_ptr<RankProcess>>;

inline std::string S(std::uint64_t n) { return std::to_string(n); }

// The create of one rank of object `id`.
inline std::string Creating(int id, std::size_t ranks, std::size_t rank,
                            const std::string& size = "0x200000") {
  return "create " + S(id) + " " + size + " " + S(ranks) + " " + S(rank);
}

// All of them create it and must succeed; the gva.
inline std::string CreateAll(const Ranks& ranks, int id = 0, const std::string& size = "0x200000") {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank)
    ranks[rank]->Send(Creating(id, ranks.size(), rank, size));
  std::string gva;
  for (const auto& rank : ranks) {
    Answer answer = rank->Receive();
    EXPECT_EQ(0, answer.code) << answer.text;
    if (gva.empty()) gva = answer.text;
    EXPECT_EQ(gva, answer.text);
  }
  return gva;
}

}  // namespace memfabric::cluster
