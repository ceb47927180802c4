// tests/cluster/rank_commands.h: what the commands of a test rank are made of (rank_main.cc), and
// those for engines.

#pragma once

#include <memfabric/smem.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace memfabric::cluster::rank {

using Words = std::vector<std::string>;

struct Answer {
  int code = 0;
  std::string text;
};

inline std::uint64_t Number(const std::string& word) { return std::stoull(word, nullptr, 0); }
inline int Signed(const std::string& word) { return std::stoi(word); }

inline Answer FromCode(int code, std::string text = "") {
  return {code, code == 0 ? text : smem_get_last_err_msg()};
}

// Byte i of the pattern of a seed; no period that a misplaced block could hide behind.
inline std::vector<unsigned char> Pattern(std::uint64_t seed, std::size_t size) {
  std::vector<unsigned char> bytes(size);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  for (std::size_t i = 0; i < size; ++i) {
    if (i % 8 == 0) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
    }
    bytes[i] = static_cast<unsigned char>(state >> (8 * (i % 8)));
  }
  return bytes;
}

inline Answer Compare(const unsigned char* bytes, std::uint64_t seed, std::size_t size) {
  auto wanted = Pattern(seed, size);
  auto [at, end] = std::mismatch(wanted.begin(), wanted.end(), bytes);
  if (at == wanted.end()) return {0, "equal"};
  return {1, "differs at byte " + std::to_string(at - wanted.begin())};
}

inline std::string Option(const Words& words, const std::string& name,
                          const std::string& otherwise) {
  for (const auto& word : words) {
    if (word.rfind(name + "=", 0) == 0) return word.substr(name.size() + 1);
  }
  return otherwise;
}

// Commands for TransferEngines (rank_engine.cc).
std::map<std::string, std::function<Answer(const Words&)>> EngineCommands();

}  // namespace memfabric::cluster::rank
