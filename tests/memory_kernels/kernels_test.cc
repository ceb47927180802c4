#include "memory/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace memfabric {
namespace {

constexpr std::byte kCanary{0xc5};
constexpr std::size_t kMargin = 256;

std::vector<std::byte> RandomBytes(std::size_t size_bytes, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

using CopyFunction = void (*)(std::byte*, const std::byte*, std::size_t);

// Copies between all alignments that matter and looks at every byte of the destination and around
// it.
void ExpectCopies(CopyFunction copy, std::size_t size_bytes, std::size_t source_shift,
                  std::size_t destination_shift) {
  static const std::vector<std::byte> from = RandomBytes((3 << 20) + 4 * kMargin, 1);
  std::vector<std::byte> to(size_bytes + destination_shift + 2 * kMargin, kCanary);
  const std::byte* source = from.data() + source_shift;
  std::byte* destination = to.data() + kMargin + destination_shift;
  copy(destination, source, size_bytes);
  CopyFence();
  ASSERT_TRUE(std::equal(source, source + size_bytes, destination)) << size_bytes;
  auto is_canary = [](std::byte byte) { return byte == kCanary; };
  ASSERT_TRUE(std::all_of(to.data(), destination, is_canary)) << "before, size " << size_bytes;
  ASSERT_TRUE(std::all_of(destination + size_bytes, to.data() + to.size(), is_canary))
      << "after, size " << size_bytes;
}

class StreamingKernelTest : public testing::TestWithParam<StreamingKernel> {};

TEST_P(StreamingKernelTest, CopiesEverySizeAndAlignment) {
  const StreamingKernel& kernel = GetParam();
  if (!kernel.usable()) GTEST_SKIP() << "this processor has no " << kernel.name;
  for (std::size_t size = 0; size <= 700; ++size) {
    for (std::size_t shift : {0, 1, 31, 32, 33, 63})
      ExpectCopies(kernel.copy, size, 64 - shift, shift);
  }
  for (std::size_t size : {4095, 4096, 4097, 65535, 65536 + 129, (1 << 20) + 3, 3 << 20}) {
    for (std::size_t source_shift : {0, 1, 64}) {
      for (std::size_t shift = 0; shift < 64; shift += 7)
        ExpectCopies(kernel.copy, size, source_shift, shift);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, StreamingKernelTest,
                         testing::ValuesIn(StreamingKernels().begin(), StreamingKernels().end()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Kernels, TheBestUsableOneIsUsed) {
  for (const StreamingKernel& kernel : StreamingKernels()) {
    if (!kernel.usable()) continue;
    EXPECT_EQ(StreamingKernelName(), kernel.name);
    return;
  }
  FAIL() << "the portable kernel must be usable";
}

#if defined(__x86_64__)
TEST(Kernels, EveryX86ProcessorHasSse2) {
  auto kernels = StreamingKernels();
  auto sse2 = std::find_if(kernels.begin(), kernels.end(),
                           [](const auto& kernel) { return kernel.name == "sse2"; });
  ASSERT_NE(sse2, kernels.end());
  EXPECT_TRUE(sse2->usable());
}
#endif

TEST(CopyBytes, CopiesSmallAndLarge) {
  for (std::size_t size = 1; size <= 300; ++size) {
    for (std::size_t shift : {0, 1, 7}) ExpectCopies(CopyBytes, size, shift, 7 - shift);
  }
  std::size_t threshold = StreamingThreshold();
  for (std::size_t size : {threshold - 1, threshold, threshold + 1, std::size_t{1 << 20} + 3}) {
    ExpectCopies(CopyBytes, size, 3, 5);
  }
}

TEST(CopyBytes, OverlapIsAsMemmove) {
  const std::size_t base = 4096;
  for (std::size_t size :
       {std::size_t{1}, std::size_t{8}, std::size_t{13}, std::size_t{16}, std::size_t{100},
        std::size_t{5000}, StreamingThreshold(), (std::size_t{1} << 20) + 7}) {
    for (long shift : {-4096L, -65L, -8L, -1L, 0L, 1L, 7L, 64L, 4096L}) {
      std::vector<std::byte> bytes = RandomBytes(size + 2 * base, 3);
      std::vector<std::byte> expected = bytes;
      std::vector<std::byte> moved(bytes.begin() + base,
                                   bytes.begin() + base + static_cast<long>(size));
      std::copy(moved.begin(), moved.end(), expected.begin() + base + shift);
      CopyBytes(bytes.data() + base + shift, bytes.data() + base, size);
      ASSERT_EQ(bytes, expected) << "size " << size << " shift " << shift;
    }
  }
}

// A flag stored after a streamed copy must never be seen before the copy's bytes.
TEST(StreamingCopy, IsSeenBeforeALaterStore) {
  constexpr std::size_t kBytes = 64 << 10;
  constexpr int kRounds = 200;
  std::vector<std::byte> shared(kBytes);
  std::atomic<int> published{0};
  std::atomic<int> seen{0};
  std::thread reader([&] {
    for (int round = 1; round <= kRounds; ++round) {
      while (published.load(std::memory_order_acquire) < round) std::this_thread::yield();
      auto wrong = std::count_if(shared.begin(), shared.end(),
                                 [&](std::byte b) { return b != static_cast<std::byte>(round); });
      EXPECT_EQ(wrong, 0) << "round " << round;
      seen.store(round, std::memory_order_release);
    }
  });
  for (int round = 1; round <= kRounds; ++round) {
    std::vector<std::byte> payload(kBytes, static_cast<std::byte>(round));
    StreamingCopy(shared.data(), payload.data(), kBytes);
    published.store(round, std::memory_order_release);
    while (seen.load(std::memory_order_acquire) < round) std::this_thread::yield();
  }
  reader.join();
}

}  // namespace
}  // namespace memfabric
