#include "memory/kernels_backends.h"

namespace memfabric::kernels {
namespace {

constexpr std::size_t kBlockBytes = 64;

// STNP is aarch64's non-temporal store; no intrinsic reaches it in both compilers.
void CopyBlocks(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  for (std::byte* end = destination + size_bytes; destination != end;
       destination += kBlockBytes, source += kBlockBytes) {
    asm volatile(
        "ldnp q0, q1, [%[source]]\n\t"
        "ldnp q2, q3, [%[source], #32]\n\t"
        "stnp q0, q1, [%[destination]]\n\t"
        "stnp q2, q3, [%[destination], #32]"
        :
        : [source] "r"(source), [destination] "r"(destination)
        : "v0", "v1", "v2", "v3", "memory");
  }
}

}  // namespace

bool NeonUsable() { return true; }  // a part of every aarch64

void CopyNeon(std::byte* destination, const std::byte* source, std::size_t size_bytes) {
  CopyAround<kBlockBytes, CopyBlocks>(destination, source, size_bytes);
}

// A full barrier: unlike x86, loads of the copy and its plain stores may pass later stores too.
void StreamFence() { asm volatile("dmb ish" ::: "memory"); }

}  // namespace memfabric::kernels
