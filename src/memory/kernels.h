// memory/kernels.h: moving bytes by plain instructions, with the best kernel that this processor
// has, chosen once at run time.
//
// Small copies are memcpy. Large ones use non-temporal stores where that wins (they leave the
// caches to others and save the read of the destination), and end with the fence that orders them
// before later stores.
//
// Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace memfabric {

// One way of copying by non-temporal stores.
struct StreamingKernel {
  std::string_view name;  // "avx512", "avx2", "sse2", "neon", "portable"
  bool (*usable)();       // on this processor
  // Any alignment, any size; not fenced. REQUIRES: no overlap, usable().
  void (*copy)(std::byte* destination, const std::byte* source, std::size_t size_bytes);
};

// The kernels of this build, best first; the first one that is usable is used. The last always is.
std::span<const StreamingKernel> StreamingKernels();
std::string_view StreamingKernelName();

// Copies by non-temporal stores whatever the size; fenced. REQUIRES: no overlap.
void StreamingCopy(std::byte* destination, const std::byte* source, std::size_t size_bytes);
// The same for one of several pieces: the caller ends the series with a CopyFence.
void StreamingCopyUnfenced(std::byte* destination, const std::byte* source, std::size_t size_bytes);
// Orders this thread's copies, non-temporal ones too, before its later stores.
void CopyFence();

inline bool Overlap(const std::byte* a, const std::byte* b, std::size_t size_bytes) {
  auto distance = reinterpret_cast<std::uintptr_t>(a) - reinterpret_cast<std::uintptr_t>(b);
  return distance < size_bytes || -distance < size_bytes;
}

// From this size on CopyBytes streams. Measured by benchmarks/; MEMFABRIC_STREAM_BYTES overrides
// it.
std::size_t StreamingThreshold();

// Copies by whatever is fastest for the size; visible to whoever sees a later store of this thread.
// Overlap is legal.
void CopyBytes(std::byte* destination, const std::byte* source, std::size_t size_bytes);

}  // namespace memfabric
