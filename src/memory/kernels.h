// memory/kernels.h: moving bytes by plain instructions, with the best kernel that this processor has, chosen once at run time.
//
// Small copies are memcpy. Large ones use non-temporal stores where that wins (they leave the caches to others and save the
// read of the destination), and end with the fence that orders them before later stores.
//
// Threads: any.

#pragma once

#include <cstddef>
#include <string_view>

namespace memfabric {

// The kernels of this build, best first; the first one that the processor has is used. "avx512", "avx2", "sse2", "neon", "portable".
std::string_view StreamingKernelName();

// Copies by non-temporal stores whatever the size; fenced. REQUIRES: no overlap.
void StreamingCopy(std::byte* destination, const std::byte* source, std::size_t size_bytes);

// From this size on CopyBytes streams. Measured by benchmarks/; MEMFABRIC_STREAM_BYTES overrides it.
std::size_t StreamingThreshold();

// Copies by whatever is fastest for the size; visible to whoever sees a later store of this thread. Overlap is legal.
void CopyBytes(std::byte* destination, const std::byte* source, std::size_t size_bytes);

}  // namespace memfabric
