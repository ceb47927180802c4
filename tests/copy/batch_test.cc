#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "copy/engine.h"
#include "copy/test_pool.h"

namespace memfabric::copy {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

struct Batch {
  std::vector<std::uint64_t> sources, destinations, sizes;
  void Add(std::uint64_t source, std::uint64_t destination, std::uint64_t size) {
    sources.push_back(source);
    destinations.push_back(destination);
    sizes.push_back(size);
  }
  BatchRequest request() const { return {sources, destinations, sizes}; }
};

class BatchTest : public testing::TestWithParam<bool> {
 protected:
  BatchTest() { pool_.Fill(1); }

  std::vector<std::byte> Host(Rank rank) {
    std::byte* memory = pool_.Memory(Zone::kHost, rank);
    return {memory, memory + (rank == 2 || rank == 4 ? 2_MiB : 6_MiB)};
  }

  ThreadTeam helpers_{2};
  TestPool pool_{MixedPool()};
  CopyEngine engine_{pool_.reach(), GetParam() ? &helpers_ : nullptr, 1s};
};

INSTANTIATE_TEST_SUITE_P(Threads, BatchTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "Team" : "Alone"; });

// Elements of one size in a shuffled order, with gaps between them or without.
void FillAndCompare(TestPool& pool, const CopyEngine& engine, Rank rank, std::size_t element,
                    std::size_t gap, bool shuffled) {
  static const std::vector<std::byte> local = RandomBytes(5_MiB, 7);
  std::vector<std::byte> expected(pool.Memory(Zone::kHost, rank),
                                  pool.Memory(Zone::kHost, rank) + 6_MiB);
  std::vector<std::size_t> order(5_MiB / (element + gap));
  std::iota(order.begin(), order.end(), 0);
  if (shuffled) std::shuffle(order.begin(), order.end(), std::mt19937_64(3));
  Batch batch;
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::size_t from = i * element;
    std::size_t to = 777 + order[i] * (element + gap);
    batch.Add(AddressOf(local.data() + from), pool.Address(Zone::kHost, rank, to), element);
    std::copy_n(local.begin() + static_cast<long>(from), element,
                expected.begin() + static_cast<long>(to));
  }
  Status status = engine.CopyBatch(batch.request(), Direction::kH2GH);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(std::memcmp(pool.Memory(Zone::kHost, rank), expected.data(), expected.size()), 0)
      << "rank " << rank << ", " << element << " bytes each";
}

TEST_P(BatchTest, MovesEveryElement) {
  for (Rank rank : {0, 1, 3}) {
    for (std::size_t element : {1000, 4096, 131072 + 64, 3'000'000}) {
      FillAndCompare(pool_, engine_, rank, element, 0, false);
      FillAndCompare(pool_, engine_, rank, element, 13, true);
    }
  }
}

TEST_P(BatchTest, ElementsGoTheirOwnWays) {
  std::vector<std::byte> local = RandomBytes(64_KiB, 3);
  std::vector<std::byte> out(64_KiB);
  Batch batch;
  batch.Add(AddressOf(local.data()), pool_.Address(Zone::kHost, 0, 100), 5000);
  batch.Add(AddressOf(local.data()) + 1, pool_.Address(Zone::kDevice, 1, 100), 5000);
  batch.Add(AddressOf(local.data()) + 2, pool_.Address(Zone::kHost, 3, 100), 5000);
  batch.Add(AddressOf(local.data()) + 3, pool_.Address(Zone::kHost, 4, 100), 5000);
  batch.Add(pool_.Address(Zone::kHost, 3, 1_MiB), AddressOf(out.data()), 5000);
  batch.Add(pool_.Address(Zone::kHost, 3, 2_MiB), pool_.Address(Zone::kHost, 4, 1_MiB), 5000);
  std::vector<std::byte> got(pool_.Memory(Zone::kHost, 3) + 1_MiB,
                             pool_.Memory(Zone::kHost, 3) + 1_MiB + 5000);
  Status status = engine_.CopyBatch(batch.request(), Direction::kAuto);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 0) + 100, local.data(), 5000), 0);
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kDevice, 1) + 100, local.data() + 1, 5000), 0);
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 3) + 100, local.data() + 2, 5000), 0);
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 4) + 100, local.data() + 3, 5000), 0);
  EXPECT_EQ(std::memcmp(out.data(), got.data(), 5000), 0);
  EXPECT_EQ(
      std::memcmp(pool_.Memory(Zone::kHost, 4) + 1_MiB, pool_.Memory(Zone::kHost, 3) + 2_MiB, 5000),
      0);
  EXPECT_EQ(pool_.link(3).unflushed() + pool_.link(4).unflushed(), 0U);
}

TEST_P(BatchTest, AnElementMayOverlapItselfAndSpanSlots) {
  std::vector<std::byte> expected = Host(0);
  std::vector<std::byte> next = Host(1);
  expected.insert(expected.end(), next.begin(), next.end());
  std::memmove(expected.data() + 1_MiB + 50, expected.data() + 1_MiB, 3_MiB);
  std::memcpy(expected.data() + 6_MiB - 300, expected.data() + 7_MiB, 5000);
  Batch batch;
  batch.Add(pool_.Address(Zone::kHost, 0, 1_MiB), pool_.Address(Zone::kHost, 0, 1_MiB + 50), 3_MiB);
  batch.Add(pool_.Address(Zone::kHost, 1, 1_MiB), pool_.Address(Zone::kHost, 0, 6_MiB - 300), 5000);
  Status status = engine_.CopyBatch(batch.request(), Direction::kG2G);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 0), expected.data(), expected.size()), 0);
}

TEST_P(BatchTest, NeighboursThatWouldOverlapAsOneAreStillTwo) {
  // The two continue each other, and each is free of overlap; as one range they would not be.
  std::vector<std::byte> expected = Host(0);
  std::memcpy(expected.data() + 2000, expected.data(), 1500);
  std::memcpy(expected.data() + 3500, expected.data() + 1500, 400);
  Batch batch;
  batch.Add(pool_.Address(Zone::kHost, 0, 0), pool_.Address(Zone::kHost, 0, 2000), 1500);
  batch.Add(pool_.Address(Zone::kHost, 0, 1500), pool_.Address(Zone::kHost, 0, 3500), 400);
  ASSERT_TRUE(engine_.CopyBatch(batch.request(), Direction::kG2G).ok());
  EXPECT_EQ(Host(0), expected);
}

TEST_P(BatchTest, NothingMovesWhenOneElementIsWrong) {
  std::vector<std::byte> local = RandomBytes(64_KiB, 3);
  std::uint64_t good = pool_.Address(Zone::kHost, 0);
  struct Wrong {
    CopyRequest element;
    const char* text;
  };
  std::uint64_t source = AddressOf(local.data());
  const std::vector<std::byte> before[] = {Host(0), Host(1), Host(3)};
  for (const Wrong& wrong :
       {Wrong{{0, good, 8}, "source is null"}, Wrong{{source, 0, 8}, "destination is null"},
        Wrong{{source, good, 0}, "size is 0"}, Wrong{{source, good, 1ULL << 63}, "too large"},
        Wrong{{source, good, (1ULL << 63) - 1}, "no memory of this process"},
        Wrong{{source, good, 1ULL << 33}, "leaves this pool"},
        Wrong{{source, pool_.Address(Zone::kHost, 2, 2_MiB - 7), 8}, "rank 2"},
        Wrong{{source, pool_.Address(Zone::kHost, 5), 8}, "rank 5"},
        Wrong{{source, AddressOf(local.data() + 100), 8}, "no address of this pool"}}) {
    for (std::size_t at : {0, 61, 99}) {
      Batch batch;
      for (std::size_t i = 0; i < 100; ++i) {
        Rank rank = i % 3 == 0 ? 0 : i % 3 == 1 ? 1 : 3;
        if (i == at) {
          batch.Add(wrong.element.source, wrong.element.destination, wrong.element.size_bytes);
        } else {
          batch.Add(source + i * 64, pool_.Address(Zone::kHost, rank, i * 50000),
                    40000 % (64_KiB - i * 64));
        }
      }
      std::size_t requests = pool_.link(3).requests();
      Status status = engine_.CopyBatch(batch.request(), Direction::kH2G);
      EXPECT_THAT(status.message(), AllOf(HasSubstr("element " + std::to_string(at) + " of 100"),
                                          HasSubstr(wrong.text)));
      EXPECT_EQ(engine_.CheckBatch(batch.request(), Direction::kH2G).ToString(), status.ToString());
      EXPECT_EQ(pool_.link(3).requests(), requests);
    }
  }
  std::size_t i = 0;
  for (Rank rank : {0, 1, 3})
    EXPECT_TRUE(Host(rank) == before[i++]) << "rank " << rank << " changed";
}

TEST_P(BatchTest, EmptyUnequalAndWithoutDirection) {
  std::vector<std::uint64_t> two(2, pool_.Address(Zone::kHost, 0));
  std::vector<std::uint64_t> three(3, 8);
  EXPECT_TRUE(IsInvalidArgument(engine_.CopyBatch({}, Direction::kAuto)));
  Status unequal = engine_.CopyBatch({two, two, three}, Direction::kAuto);
  EXPECT_TRUE(IsInvalidArgument(unequal));
  EXPECT_THAT(unequal.message(), HasSubstr("2 sources, 2 destinations and 3 sizes"));
  EXPECT_TRUE(IsInvalidArgument(engine_.CopyBatch({two, three, two}, Direction::kAuto)));
  EXPECT_TRUE(IsInvalidArgument(engine_.CopyBatch({two, two, two}, static_cast<Direction>(10))));
}

TEST_P(BatchTest, PiecesOfOneLinkGoTogether) {
  std::vector<std::byte> local = RandomBytes(64_KiB, 3);
  Batch batch;  // 3 takes three pieces a request
  for (std::size_t i = 0; i < 10; ++i) {
    batch.Add(AddressOf(local.data()) + 100 * i, pool_.Address(Zone::kHost, 3, 1000 * i), 100);
  }
  std::size_t requests = pool_.link(3).requests();
  std::size_t flushes = pool_.link(3).flushes();
  ASSERT_TRUE(engine_.CopyBatch(batch.request(), Direction::kH2G).ok());
  EXPECT_EQ(pool_.link(3).requests() - requests, 4U);
  EXPECT_EQ(pool_.link(3).flushes() - flushes, 1U);
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(std::memcmp(pool_.Memory(Zone::kHost, 3) + 1000 * i, local.data() + 100 * i, 100), 0);
  }
}

}  // namespace
}  // namespace memfabric::copy
