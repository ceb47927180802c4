// tests/cluster/rank_commands.h: what the programs of test ranks are made of (rank_main.cc, and
// tests/shm/rank_main.cc), and the commands for engines.

#pragma once

#include <memfabric/smem.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace memfabric::cluster::rank {

using Words = std::vector<std::string>;

struct Answer {
  int code = 0;
  std::string text;
};

using Commands = std::map<std::string, std::function<Answer(const Words&)>>;  // by first word

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
Commands EngineCommands();

// The main of a rank: answers each line of standard input by a line "<code> <text>", to its end.
inline int Serve(const Commands& commands) {
  std::ios::sync_with_stdio(false);  // C's input ends at the first read that a signal interrupts
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream stream(line);
    Words words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words.empty()) continue;
    auto command = commands.find(words[0]);
    Answer answer = command == commands.end() ? Answer{99, "no such command: " + words[0]}
                                              : command->second(words);
    std::replace(answer.text.begin(), answer.text.end(), '\n', ' ');
    std::cout << answer.code << " " << answer.text << std::endl;
  }
  smem_uninit();
  return 0;
}

}  // namespace memfabric::cluster::rank
