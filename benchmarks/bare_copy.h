// benchmarks/bare_copy.h: what ours is compared with: memcpy, non-temporal stores and page faults
// with nothing around them, by one thread or by a fixed set of them. Written apart from the
// library's kernels, so that a slow kernel shows.
//
// Threads: Crew::Run from one thread.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bare {

#if defined(__x86_64__)
// REQUIRES: 64-byte aligned destination, a multiple of 64 bytes.
__attribute__((target("avx512f"))) inline void StreamAvx512(std::byte* to, const std::byte* from,
                                                            std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_loadu_si512(from + i));
  }
}
__attribute__((target("avx2"))) inline void StreamAvx2(std::byte* to, const std::byte* from,
                                                       std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 64) {
    __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i), low);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i + 32), high);
  }
}
inline void StreamSse2(std::byte* to, const std::byte* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
}
inline void Stream(std::byte* to, const std::byte* from, std::size_t bytes) {
  static const auto kernel = __builtin_cpu_supports("avx512f") ? StreamAvx512
                             : __builtin_cpu_supports("avx2")  ? StreamAvx2
                                                               : StreamSse2;
  kernel(to, from, bytes);
  _mm_sfence();
}
#else
inline void Stream(std::byte* to, const std::byte* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}
#endif

inline void Memcpy(std::byte* to, const std::byte* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}

using Copy = void (*)(std::byte* to, const std::byte* from, std::size_t bytes);

struct Piece {
  std::byte* to;
  const std::byte* from;
  std::size_t bytes;
};

// `threads - 1` threads that wait for work, and the caller.
class Crew {
 public:
  explicit Crew(unsigned threads) {
    for (unsigned i = 1; i < threads; ++i) threads_.emplace_back([this, i] { Work(i); });
  }
  ~Crew() {
    part_ = nullptr;
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  unsigned size() const { return static_cast<unsigned>(threads_.size()) + 1; }

  // part(i) for i in [0, size()), each on its own thread.
  void Run(const std::function<void(unsigned)>& part) {
    part_ = &part;
    unfinished_.store(size() - 1, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    part(0);
    while (unfinished_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  }

  void CopyWhole(Copy copy, Piece piece) {
    std::size_t share = (piece.bytes / size() + 4095) / 4096 * 4096;
    Run([&](unsigned i) {
      std::size_t begin = std::min(piece.bytes, i * share);
      std::size_t end = i + 1 == size() ? piece.bytes : std::min(piece.bytes, begin + share);
      copy(piece.to + begin, piece.from + begin, end - begin);
    });
  }

  // By equal bytes of the list, whole pieces.
  void CopyList(Copy copy, std::span<const Piece> pieces) {
    std::size_t total = 0;
    for (const Piece& piece : pieces) total += piece.bytes;
    Run([&](unsigned i) {
      std::size_t begin = total * i / size(), end = total * (i + 1) / size(), at = 0;
      for (const Piece& piece : pieces) {
        if (at >= begin && at < end) copy(piece.to, piece.from, piece.bytes);
        at += piece.bytes;
      }
    });
  }

 private:
  void Work(unsigned index) {
    for (std::uint64_t round = 0;;) {
      round_.wait(round, std::memory_order_acquire);
      ++round;
      if (part_ == nullptr) return;
      (*part_)(index);
      unfinished_.fetch_sub(1, std::memory_order_release);
    }
  }

  const std::function<void(unsigned)>* part_ = nullptr;  // written before round_ grows, read after
  std::atomic<std::uint64_t> round_{0};
  std::atomic<unsigned> unfinished_{0};
  std::vector<std::thread> threads_;
};

}  // namespace bare
