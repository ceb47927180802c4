#include <immintrin.h>

#include "memory/kernels_backends.h"

namespace memfabric::kernels {
namespace {

constexpr std::size_t kVectorBytes = sizeof(__m128i);
constexpr std::size_t kBlockBytes = 4 * kVectorBytes;

__attribute__((target("sse2"))) void CopyBlocks(std::byte* destination, const std::byte* source,
                                                std::size_t size_bytes) {
  for (std::byte* end = destination + size_bytes; destination != end;
       destination += kBlockBytes, source += kBlockBytes) {
    const auto* from = reinterpret_cast<const __m128i*>(source);
    auto* to = reinterpret_cast<__m128i*>(destination);
    __m128i a = _mm_loadu_si128(from);
    __m128i b = _mm_loadu_si128(from + 1);
    __m128i c = _mm_loadu_si128(from + 2);
    __m128i d = _mm_loadu_si128(from + 3);
    _mm_stream_si128(to, a);
    _mm_stream_si128(to + 1, b);
    _mm_stream_si128(to + 2, c);
    _mm_stream_si128(to + 3, d);
  }
}

}  // namespace

bool Sse2Usable() { return __builtin_cpu_supports("sse2"); }

void CopySse2(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  CopyAround<kBlockBytes, CopyBlocks>(destination, source, size_bytes);
}

// An SSE instruction, whatever wrote the bytes.
void StreamFence() { _mm_sfence(); }

}  // namespace memfabric::kernels
