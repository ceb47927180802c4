// copy/batch_parts.h: a batch in parts of equally many bytes, which threads move at once. A pure
// function; any thread.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace memfabric::copy {

struct BatchPlace {
  std::size_t index = 0;
  std::uint64_t offset = 0;  // in the element
};

// Where parts of `part_bytes` begin, each where the one before has ended, in the elements from
// `first` on of these sizes. Returns how many there are, begins.size() at most.
inline std::size_t FindParts(std::span<const std::uint64_t> sizes_bytes, std::size_t first,
                             std::uint64_t part_bytes, std::span<BatchPlace> begins) {
  std::size_t parts = 0;
  std::uint64_t until_begin = 0;  // bytes from here to the next part's begin
  for (std::size_t i = first; i < sizes_bytes.size(); ++i) {
    std::uint64_t bytes = sizes_bytes[i];
    std::uint64_t offset = 0;
    while (bytes - offset > until_begin && parts < begins.size()) {
      offset += until_begin;
      begins[parts++] = {i, offset};
      until_begin = part_bytes;
    }
    until_begin -= std::min(until_begin, bytes - offset);
  }
  return parts;
}

}  // namespace memfabric::copy
