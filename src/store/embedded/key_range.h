// store/embedded/key_range.h: the keys that a request names by key and range_end.

#pragma once

#include <string>
#include <string_view>

namespace memfabric::store {

// Borrows its strings.
struct KeyRange {
  std::string_view begin;
  // empty: `begin` alone; "\0": everything from `begin` up; else what is below `end`
  std::string_view end;

  bool IsOneKey() const { return end.empty(); }
  bool IsOpen() const { return end.size() == 1 && end[0] == '\0'; }
  bool EndsBefore(std::string_view key) const {
    return IsOneKey() ? key > begin : !IsOpen() && key >= end;
  }
  bool Contains(std::string_view key) const { return key >= begin && !EndsBefore(key); }
  // It holds nothing: its end isn't above its begin.
  bool IsEmpty() const { return !IsOneKey() && !IsOpen() && end <= begin; }
};

// The range_end that makes a range of all keys that start with `prefix`.
inline std::string PrefixEnd(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (end.empty()) return std::string(1, '\0');
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

}  // namespace memfabric::store
