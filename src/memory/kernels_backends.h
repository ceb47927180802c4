// memory/kernels_backends.h: what the kernel files share. Each of them is compiled for every build
// of its architecture and names the instructions it needs function by function, so that only its
// own code uses them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace memfabric::kernels {

// Copies whole blocks. REQUIRES: `destination` aligned to kBlockAlignment, `size_bytes` a multiple
// of the kernel's block.
using BlockCopy = void (*)(std::byte* destination, const std::byte* source, std::size_t size_bytes);

constexpr std::size_t kLineBytes = 64;
// A non-temporal store that doesn't fill its line costs a read of the memory.
constexpr std::size_t kBlockAlignment = kLineBytes;
// Lets `copy` have the blocks of an aligned destination and memcpy what is before and after.
template <std::size_t kBlockBytes, BlockCopy copy>
void CopyAround(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  std::size_t head = -reinterpret_cast<std::uintptr_t>(destination) % kBlockAlignment;
  if (size_bytes < head + kBlockBytes) {
    std::memcpy(destination, source, size_bytes);
    return;
  }
  std::memcpy(destination, source, head);
  std::size_t blocks = (size_bytes - head) / kBlockBytes * kBlockBytes;
  copy(destination + head, source + head, blocks);
  std::size_t done = head + blocks;
  std::memcpy(destination + done, source + done, size_bytes - done);
}

bool Avx512Usable();
void CopyAvx512(std::byte* destination, const std::byte* source, std::size_t size_bytes);
bool Avx2Usable();
void CopyAvx2(std::byte* destination, const std::byte* source, std::size_t size_bytes);
bool Sse2Usable();
void CopySse2(std::byte* destination, const std::byte* source, std::size_t size_bytes);
bool NeonUsable();
void CopyNeon(std::byte* destination, const std::byte* source, std::size_t size_bytes);

// Orders non-temporal stores before later stores of this thread.
void StreamFence();

}  // namespace memfabric::kernels
