// Every direction by every path: the right bytes at the right place, and nothing else changes.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "copy/engine.h"
#include "copy/test_pool.h"

namespace memfabric::copy {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kSizes[] = {
    1, 7, 8, 9, 16, 17, 63, 64, 4095, 4096, (1 << 20) + 3, kParallelBytes + 4097};
constexpr std::size_t kMargin = 128;

// Rank 0 is this process's own, 1 a mapped peer, 3 behind a link.
constexpr Rank kRanks[] = {0, 1, 3};

class MoveTest : public testing::TestWithParam<bool> {  // with or without helper threads
 protected:
  MoveTest() { pool_.Fill(1); }

  // Copies between two places that are given as addresses for the engine and as memory for the
  // check.
  void ExpectMoves(Direction direction, std::uint64_t source, const std::byte* source_memory,
                   std::uint64_t destination, std::byte* destination_memory, std::size_t size) {
    std::vector<std::byte> expected(destination_memory - kMargin,
                                    destination_memory + size + kMargin);
    std::vector<std::byte> moved(source_memory, source_memory + size);
    std::copy(moved.begin(), moved.end(), expected.begin() + kMargin);
    Status status = engine_.Copy({source, destination, size}, direction);
    ASSERT_TRUE(status.ok()) << status << " " << DirectionName(direction) << " " << size;
    ASSERT_EQ(std::memcmp(destination_memory - kMargin, expected.data(), expected.size()), 0)
        << DirectionName(direction) << " of " << size << " bytes";
    for (Rank rank : {Rank{3}, Rank{4}})
      ASSERT_EQ(pool_.link(rank).unflushed(), 0U) << "not flushed: rank " << rank;
  }

  ThreadTeam helpers_{2};
  TestPool pool_{MixedPool()};
  CopyEngine engine_{pool_.reach(), GetParam() ? &helpers_ : nullptr, 1s};
};

INSTANTIATE_TEST_SUITE_P(Threads, MoveTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "Team" : "Alone"; });

template <typename Move>
void ForEachCase(bool host_only, const Move& move) {
  for (Rank rank : kRanks) {
    for (Zone zone : kAllZones) {
      if (host_only && zone != Zone::kHost) continue;
      for (std::size_t size : kSizes) {
        for (std::size_t shift : {0, 1, 33})
          if (size <= 4096 || shift != 0) move(rank, zone, size, shift);
      }
    }
  }
}

TEST_P(MoveTest, IntoThePool) {
  std::vector<std::byte> local = RandomBytes(kParallelBytes + 3 * 4097, 2);
  for (Direction direction :
       {Direction::kL2G, Direction::kH2G, Direction::kL2GH, Direction::kH2GH, Direction::kAuto}) {
    bool host_only = direction == Direction::kL2GH || direction == Direction::kH2GH;
    ForEachCase(host_only, [&](Rank rank, Zone zone, std::size_t size, std::size_t shift) {
      ExpectMoves(direction, AddressOf(local.data() + 3 * shift), local.data() + 3 * shift,
                  pool_.Address(zone, rank, 4096 + shift), pool_.Memory(zone, rank) + 4096 + shift,
                  size);
    });
  }
}

TEST_P(MoveTest, OutOfThePool) {
  std::vector<std::byte> local = RandomBytes(kParallelBytes + 3 * 4097, 3);
  for (Direction direction :
       {Direction::kG2L, Direction::kG2H, Direction::kGH2L, Direction::kGH2H, Direction::kAuto}) {
    bool host_only = direction == Direction::kGH2L || direction == Direction::kGH2H;
    ForEachCase(host_only, [&](Rank rank, Zone zone, std::size_t size, std::size_t shift) {
      ExpectMoves(direction, pool_.Address(zone, rank, 4096 + 3 * shift),
                  pool_.Memory(zone, rank) + 4096 + 3 * shift,
                  AddressOf(local.data() + kMargin + shift), local.data() + kMargin + shift, size);
    });
  }
}

TEST_P(MoveTest, WithinThePool) {
  for (Direction direction :
       {Direction::kG2G, Direction::kAuto, Direction::kH2G, Direction::kG2L}) {
    for (Rank from : kRanks) {
      for (Rank to : kRanks) {
        for (Zone zone : kAllZones) {
          for (std::size_t size : kSizes) {
            if (size > 4096 && direction != Direction::kG2G) continue;
            ExpectMoves(direction, pool_.Address(zone, from, 33), pool_.Memory(zone, from) + 33,
                        pool_.Address(Zone::kHost, to, 3_MiB + 5),
                        pool_.Memory(Zone::kHost, to) + 3_MiB + 5, size);
          }
        }
      }
    }
  }
}

TEST_P(MoveTest, AWholeSlotAndItsLastByte) {
  std::vector<std::byte> local = RandomBytes(6_MiB + 2 * kMargin, 5);
  for (Rank rank : kRanks) {
    Status status = engine_.Copy({AddressOf(local.data()), pool_.Address(Zone::kHost, rank), 6_MiB},
                                 Direction::kH2GH);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, rank), local.data(), 6_MiB), 0);
    std::byte last{0x77};
    status = engine_.Copy({AddressOf(&last), pool_.Address(Zone::kHost, rank, 6_MiB - 1), 1},
                          Direction::kH2G);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(pool_.Memory(Zone::kHost, rank)[6_MiB - 1], last);
  }
}

TEST_P(MoveTest, ARangeMaySpanFullSlots) {
  // Host slots of 0 and 1, of 3 and 4; of 1 and the part of 2; with both sides cut at different
  // places.
  struct Span {
    Rank first;
    std::uint64_t begin, size;
  };
  std::vector<std::byte> local = RandomBytes(20_MiB, 6);
  for (Span span : {Span{0, 6_MiB - 5, 10}, Span{0, 1, 14_MiB - 1}, Span{3, 6_MiB - 3000, 5000},
                    Span{3, 17, 8_MiB - 17}}) {
    std::uint64_t address = pool_.Address(Zone::kHost, span.first, span.begin);
    Status status = engine_.Copy({AddressOf(local.data()), address, span.size}, Direction::kH2GH);
    ASSERT_TRUE(status.ok()) << status;
    std::vector<std::byte> back(span.size);
    status = engine_.Copy({address, AddressOf(back.data()), span.size}, Direction::kGH2H);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(std::memcmp(back.data(), local.data(), span.size), 0);
    std::uint64_t in_first = std::min(span.size, 6_MiB - span.begin);
    EXPECT_EQ(
        std::memcmp(pool_.Memory(Zone::kHost, span.first) + span.begin, local.data(), in_first), 0);
    if (span.size > in_first) {
      std::uint64_t in_second = std::min(span.size - in_first, 2_MiB);
      EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, span.first + 1), local.data() + in_first,
                            in_second),
                0);
    }
  }
  Status status = engine_.Copy(
      {pool_.Address(Zone::kHost, 0, 2_MiB), pool_.Address(Zone::kHost, 3, 1_MiB), 7_MiB},
      Direction::kG2G);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 3) + 1_MiB, pool_.Memory(Zone::kHost, 0) + 2_MiB,
                        5_MiB),
            0);
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 4), pool_.Memory(Zone::kHost, 1) + 1_MiB, 2_MiB),
            0);
}

TEST_P(MoveTest, OverlapIsAsMemmove) {
  for (Rank rank : {Rank{0}, Rank{3}}) {
    std::byte* memory = pool_.Memory(Zone::kHost, rank);
    for (std::size_t size :
         {std::size_t{8}, std::size_t{100}, std::size_t{70000}, std::size_t{3_MiB + 5}}) {
      for (long shift : {-100000L, -7L, 0L, 7L, 100000L}) {
        std::vector<std::byte> expected(memory, memory + 6_MiB);
        std::memmove(expected.data() + 1_MiB + shift, expected.data() + 1_MiB, size);
        Status status = engine_.Copy(
            {pool_.Address(Zone::kHost, rank, 1_MiB),
             pool_.Address(Zone::kHost, rank, static_cast<std::uint64_t>(1'048'576 + shift)), size},
            Direction::kG2G);
        ASSERT_TRUE(status.ok()) << status;
        ASSERT_EQ(std::memcmp(memory, expected.data(), expected.size()), 0)
            << "rank " << rank << ", " << size << ", " << shift;
      }
    }
  }
}

TEST_P(MoveTest, OverlapAcrossLinksIsAsMemmove) {
  // 3 and 4 are links; in the first pool 2 is mapped in part, so this one has a full 2 before 3.
  TestPoolOptions options = MixedPool();
  options.members[2] = {By::kMapped, {4_MiB, 6_MiB}};
  TestPool pool(options);
  pool.Fill(9);
  CopyEngine engine(pool.reach(), GetParam() ? &helpers_ : nullptr, 1s);
  auto all = [&] {
    std::vector<std::byte> bytes;
    for (Rank rank : {2, 3, 4}) {
      std::byte* memory = pool.Memory(Zone::kHost, rank);
      bytes.insert(bytes.end(), memory, memory + (rank == 4 ? 2_MiB : 6_MiB));
    }
    return bytes;
  };
  for (long shift : {-5'000'000L, -3L, 3L, 5'000'000L}) {
    std::vector<std::byte> expected = all();
    std::uint64_t from = 6_MiB - 1000;
    auto to = static_cast<std::uint64_t>(static_cast<long>(from) + shift);
    std::uint64_t size = shift > 0 ? 14_MiB - to : 6_MiB + 3000;
    std::memmove(expected.data() + to, expected.data() + from, size);
    Status status =
        engine.Copy({pool.Address(Zone::kHost, 2, from), pool.Address(Zone::kHost, 2, to), size},
                    Direction::kG2G);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_TRUE(all() == expected) << shift;
  }
}

TEST(MoveNumbersOnly, GlobalAddressesAreTranslated) {
  TestPoolOptions options = MixedPool();
  options.numbers_only = true;
  TestPool pool(options);
  CopyEngine engine(pool.reach(), nullptr, 1s);
  std::uint64_t value = 0x1234'5678'9abc'def0;
  std::uint64_t back = 0;
  ASSERT_NE(pool.Address(Zone::kHost, 1), pool.Local(Zone::kHost, 1));
  EXPECT_TRUE(
      engine.Copy({AddressOf(&value), pool.Address(Zone::kHost, 1, 8), 8}, Direction::kH2G).ok());
  EXPECT_EQ(std::memcmp(pool.Memory(Zone::kHost, 1) + 8, &value, 8), 0);
  // The local side may be the window's own address here, and is checked as such.
  EXPECT_TRUE(engine
                  .Copy({pool.Local(Zone::kHost, 1, 8), pool.Address(Zone::kHost, 3, 16), 8},
                        Direction::kH2G)
                  .ok());
  EXPECT_TRUE(
      engine.Copy({pool.Address(Zone::kHost, 3, 16), AddressOf(&back), 8}, Direction::kAuto).ok());
  EXPECT_EQ(back, value);
  EXPECT_TRUE(IsInvalidArgument(
      engine.Copy({AddressOf(&value), pool.Local(Zone::kHost, 1), 8}, Direction::kH2G)));
  EXPECT_TRUE(IsInvalidArgument(
      engine.Copy({pool.Local(Zone::kHost, 2, 2_MiB), AddressOf(&value), 8}, Direction::kAuto)));
  EXPECT_TRUE(IsInvalidArgument(
      engine.Copy({(1ULL << 52), pool.Address(Zone::kHost, 1), 8}, Direction::kH2G)));
}

}  // namespace
}  // namespace memfabric::copy
