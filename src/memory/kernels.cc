#include "memory/kernels.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "memory/kernels_backends.h"

namespace memfabric {
namespace {

void CopyPortable(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  std::memcpy(destination, source, size_bytes);
}

bool AlwaysUsable() { return true; }

constexpr std::array kKernels {
#if defined(MEMFABRIC_KERNELS_X86)
  StreamingKernel{"avx512", kernels::Avx512Usable, kernels::CopyAvx512},
      StreamingKernel{"avx2", kernels::Avx2Usable, kernels::CopyAvx2},
      StreamingKernel{"sse2", kernels::Sse2Usable, kernels::CopySse2},
#elif defined(MEMFABRIC_KERNELS_NEON)
  StreamingKernel{"neon", kernels::NeonUsable, kernels::CopyNeon},
#endif
      StreamingKernel{"portable", AlwaysUsable, CopyPortable},
};

const StreamingKernel& Best() {
  for (const StreamingKernel& kernel : kKernels) {
    if (kernel.usable()) return kernel;
  }
  return kKernels.back();
}

// Measured on a Zen 3 (32 MiB L3, 512 KiB L2) by the loop of copy_bench. Into cold memory streaming
// wins from 4 KiB up (1.4x there, 1.8x from 64 KiB up); into memory that is in the cache it loses
// until 4 MiB (2x at 4 KiB, 1.1x from 256 KiB up, where memcpy itself leaves the L2). 256 KiB is
// where the loss has become small, and what is smaller is likely to be read soon.
constexpr std::size_t kStreamBytes = 256 << 10;

// The environment's number of bytes, if it is one.
std::size_t ThresholdFromEnvironment() {
  const char* text = std::getenv("MEMFABRIC_STREAM_BYTES");
  if (text == nullptr || *text < '0' || *text > '9') return kStreamBytes;
  char* end = nullptr;
  errno = 0;
  unsigned long long bytes = std::strtoull(text, &end, 10);
  return *end == '\0' && errno == 0 ? bytes : kStreamBytes;
}

// What this process uses; chosen before main or when the library is loaded, never changed.
const StreamingKernel kBest = Best();
const std::size_t kThreshold = ThresholdFromEnvironment();

template <typename Word>
void MoveEnds(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  Word first;
  Word last;
  std::memcpy(&first, source, sizeof(Word));
  std::memcpy(&last, source + size_bytes - sizeof(Word), sizeof(Word));
  std::memcpy(destination, &first, sizeof(Word));
  std::memcpy(destination + size_bytes - sizeof(Word), &last, sizeof(Word));
}

}  // namespace

std::span<const StreamingKernel> StreamingKernels() { return kKernels; }

std::string_view StreamingKernelName() { return kBest.name; }

void StreamingCopy(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  kBest.copy(destination, source, size_bytes);
  CopyFence();
}

void StreamingCopyUnfenced(std::byte* destination, const std::byte* source,
                           std::size_t size_bytes) {
  kBest.copy(destination, source, size_bytes);
}

void CopyFence() {
#if defined(MEMFABRIC_KERNELS_X86) || defined(MEMFABRIC_KERNELS_NEON)
  kernels::StreamFence();
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

std::size_t StreamingThreshold() { return kThreshold; }

void CopyBytes(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  // 8 to 16: a flag, a pointer, a header; one store when it is 8, so that nobody sees half of it
  if (size_bytes - 8 <= 8) {
    MoveEnds<std::uint64_t>(destination, source, size_bytes);
  } else if (size_bytes >= kThreshold && !Overlap(destination, source, size_bytes)) {
    StreamingCopy(destination, source, size_bytes);
    return;
  } else {
    std::memmove(destination, source, size_bytes);
  }
#if !defined(MEMFABRIC_KERNELS_X86)
  CopyFence();  // plain stores keep their order on x86, and nowhere else
#endif
}

}  // namespace memfabric
