#include <immintrin.h>

#include "memory/kernels_backends.h"

namespace memfabric::kernels {
namespace {

constexpr std::size_t kVectorBytes = sizeof(__m512i);
constexpr std::size_t kBlockBytes = 4 * kVectorBytes;

__attribute__((target("avx512f"))) void CopyBlocks(std::byte* destination, const std::byte* source,
                                                   std::size_t size_bytes) {
  for (std::byte* end = destination + size_bytes; destination != end;
       destination += kBlockBytes, source += kBlockBytes) {
    const auto* from = reinterpret_cast<const __m512i*>(source);
    auto* to = reinterpret_cast<__m512i*>(destination);
    __m512i a = _mm512_loadu_si512(from);
    __m512i b = _mm512_loadu_si512(from + 1);
    __m512i c = _mm512_loadu_si512(from + 2);
    __m512i d = _mm512_loadu_si512(from + 3);
    _mm512_stream_si512(to, a);
    _mm512_stream_si512(to + 1, b);
    _mm512_stream_si512(to + 2, c);
    _mm512_stream_si512(to + 3, d);
  }
}

}  // namespace

bool Avx512Usable() { return __builtin_cpu_supports("avx512f"); }

void CopyAvx512(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  CopyAround<kBlockBytes, CopyBlocks>(destination, source, size_bytes);
}

}  // namespace memfabric::kernels
