#include <immintrin.h>

#include "memory/kernels_backends.h"

namespace memfabric::kernels {
namespace {

constexpr std::size_t kVectorBytes = sizeof(__m256i);
constexpr std::size_t kBlockBytes = 4 * kVectorBytes;

__attribute__((target("avx2"))) void CopyBlocks(std::byte* destination, const std::byte* source,
                                                std::size_t size_bytes) {
  for (std::byte* end = destination + size_bytes; destination != end;
       destination += kBlockBytes, source += kBlockBytes) {
    const auto* from = reinterpret_cast<const __m256i*>(source);
    auto* to = reinterpret_cast<__m256i*>(destination);
    __m256i a = _mm256_loadu_si256(from);
    __m256i b = _mm256_loadu_si256(from + 1);
    __m256i c = _mm256_loadu_si256(from + 2);
    __m256i d = _mm256_loadu_si256(from + 3);
    _mm256_stream_si256(to, a);
    _mm256_stream_si256(to + 1, b);
    _mm256_stream_si256(to + 2, c);
    _mm256_stream_si256(to + 3, d);
  }
}

}  // namespace

bool Avx2Usable() { return __builtin_cpu_supports("avx2"); }

void CopyAvx2(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  CopyAround<kBlockBytes, CopyBlocks>(destination, source, size_bytes);
}

}  // namespace memfabric::kernels
