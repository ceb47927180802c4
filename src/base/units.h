// base/units.h: sizes: as literals (2_MiB), in words, and that of a huge page. Any thread.

#pragma once

#include <cstdint>
#include <string>

namespace memfabric {

constexpr std::uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr std::uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
constexpr std::uint64_t operator""_GiB(unsigned long long n) { return n << 30; }
constexpr std::uint64_t operator""_TiB(unsigned long long n) { return n << 40; }

constexpr std::uint64_t kHugePageBytes = 2_MiB;

constexpr bool IsMultipleOf(std::uint64_t value, std::uint64_t unit) { return value % unit == 0; }

// "2 MiB", "1.5 GiB", "17 bytes"; exact in bytes when no unit fits: "2097153 bytes".
std::string SizeText(std::uint64_t bytes);

}  // namespace memfabric
