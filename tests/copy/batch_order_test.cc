#include "copy/batch_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "copy/engine.h"
#include "copy/test_pool.h"

namespace memfabric::copy {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

OneWaveSieve Seen(const std::vector<Touched>& elements) {
  OneWaveSieve sieve;
  for (const Touched& element : elements) sieve.Add(element);
  return sieve;
}

bool Sieved(const std::vector<Touched>& elements) { return Seen(elements).IsOneWave(); }

std::vector<std::size_t> Waves(const std::vector<Touched>& elements) {
  return FindWaves(elements, Seen(elements));
}

bool Meet(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b, std::uint64_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes;
}

// Whether the order of two elements shows.
bool Conflict(const Touched& a, const Touched& b) {
  return Meet(a.destination, a.size_bytes, b.destination, b.size_bytes) ||
         Meet(a.destination, a.size_bytes, b.source, b.size_bytes) ||
         Meet(a.source, a.size_bytes, b.destination, b.size_bytes);
}

TEST(BatchOrder, RisingAndFallingDestinationsAwayFromAllSourcesAreOneWaveAtFirstSight) {
  EXPECT_TRUE(Sieved({}));
  EXPECT_TRUE(Sieved({{100, 120, 50}}));  // overlaps itself only
  EXPECT_TRUE(Sieved({{1000, 0, 8}, {1004, 8, 8}, {1000, 20, 8}}));
  EXPECT_TRUE(Sieved({{1000, 20, 8}, {1004, 8, 8}, {1000, 0, 8}}));
  EXPECT_FALSE(Sieved({{1000, 0, 8}, {1004, 7, 8}}));
  EXPECT_FALSE(Sieved({{1000, 0, 8}, {1004, 16, 8}, {1000, 8, 8}}));
  EXPECT_FALSE(Sieved({{1000, 0, 8}, {4, 8, 8}}));
}

TEST(BatchOrder, ElementsThatShareNoWrittenByteAreOneWave) {
  EXPECT_THAT(Waves({{1000, 0, 8}, {1004, 16, 8}, {1000, 8, 8}}), IsEmpty());
  EXPECT_THAT(Waves({{100, 120, 50}, {300, 0, 8}}), IsEmpty());
}

TEST(BatchOrder, AWaveBeginsWhereAnElementTouchesWhatIsWritten) {
  // reads it
  EXPECT_THAT(Waves({{0, 100, 10}, {100, 200, 10}, {0, 300, 10}}), ElementsAre(1));
  // writes it
  EXPECT_THAT(Waves({{0, 100, 10}, {0, 109, 10}}), ElementsAre(1));
  // writes what is read
  EXPECT_THAT(Waves({{0, 100, 10}, {200, 9, 1}}), ElementsAre(1));
  EXPECT_THAT(Waves({{0, 100, 10}, {100, 200, 10}, {200, 300, 10}}), ElementsAre(1, 2));
}

TEST(BatchOrder, WavesOfRandomBatchesHoldNoConflictAndTheRestIsCutForOneOnly) {
  std::mt19937_64 random(11);
  int whole = 0;
  int cut = 0;
  for (int round = 0; round < 400; ++round) {
    // From crowded to empty, few elements and so many that they are sorted by digits.
    std::uint64_t space = std::uint64_t{1} << (8 + random() % 24);
    std::size_t count = 1 + random() % (round % 10 == 0 ? 700 : 12);
    std::vector<Touched> elements;
    for (std::size_t i = 0; i < count; ++i) {
      elements.push_back({0x1000'0000'0000 + random() % space, 0x1000'0000'0000 + random() % space,
                          1 + random() % 64});
    }
    std::vector<std::size_t> begins = Waves(elements);
    if (begins.empty()) ++whole;
    if (!begins.empty()) {
      ++cut;
      EXPECT_FALSE(Sieved(elements));
    }
    std::size_t begin = 0;
    begins.push_back(count);
    for (std::size_t end : begins) {
      for (std::size_t i = begin; i < end; ++i) {
        for (std::size_t j = begin; j < i; ++j)
          ASSERT_FALSE(Conflict(elements[j], elements[i])) << j << " and " << i;
      }
      if (end < count) {
        EXPECT_TRUE(std::any_of(
            elements.begin() + static_cast<long>(begin), elements.begin() + static_cast<long>(end),
            [&](const Touched& before) { return Conflict(before, elements[end]); }));
      }
      begin = end;
    }
  }
  EXPECT_GT(whole, 20);
  EXPECT_GT(cut, 20);
}

class OverlappingBatchTest : public testing::TestWithParam<bool> {};

INSTANTIATE_TEST_SUITE_P(Threads, OverlappingBatchTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "Team" : "Alone"; });

// Ranks 0 and 1 are mapped, 3 is behind a link that moves nothing before it is flushed.
TEST_P(OverlappingBatchTest, TakesEffectInTheOrderOfTheList) {
  ThreadTeam team(2);
  TestPool pool(MixedPool());
  pool.Fill(5);
  CopyEngine engine(pool.reach(), GetParam() ? &team : nullptr, 1s);
  std::vector<std::byte> local = RandomBytes(2_MiB, 6);
  // The model: the four pieces of memory end to end.
  std::vector<std::byte> model(4 * 2_MiB);
  std::array<std::byte*, 4> memory{pool.Memory(Zone::kHost, 0), pool.Memory(Zone::kHost, 1),
                                   pool.Memory(Zone::kHost, 3), local.data()};
  std::array<std::uint64_t, 4> address{pool.Address(Zone::kHost, 0), pool.Address(Zone::kHost, 1),
                                       pool.Address(Zone::kHost, 3), AddressOf(local.data())};
  for (std::size_t i = 0; i < 4; ++i) std::memcpy(model.data() + i * 2_MiB, memory[i], 2_MiB);
  std::mt19937_64 random(GetParam() ? 8 : 9);
  for (int round = 0; round < 200; ++round) {
    // Mapped ones only, or all; small pieces in little room, or large enough for threads and
    // streaming.
    const bool mapped_only = round % 2 == 0;
    const std::uint64_t room = round % 5 == 0 ? 2_MiB : 4096;
    const std::uint64_t most = round % 5 == 0 ? 700_KiB : 900;
    std::vector<std::uint64_t> sources, destinations, sizes;
    for (std::size_t i = 0, count = 2 + random() % 12; i < count; ++i) {
      std::size_t from = random() % 4;
      std::size_t to = random() % 3;  // the pool's, so that the direction is one
      if (mapped_only && from == 2) from = 3;
      if (mapped_only && to == 2) to = 0;
      std::uint64_t size = 1 + random() % most;
      std::uint64_t source = random() % (room - size);
      std::uint64_t destination = random() % (room - size);
      sources.push_back(address[from] + source);
      destinations.push_back(address[to] + destination);
      sizes.push_back(size);
      std::memmove(model.data() + to * 2_MiB + destination, model.data() + from * 2_MiB + source,
                   size);
    }
    Status status = engine.CopyBatch({sources, destinations, sizes}, Direction::kAuto);
    ASSERT_TRUE(status.ok()) << status;
    for (std::size_t i = 0; i < 4; ++i) {
      ASSERT_EQ(std::memcmp(model.data() + i * 2_MiB, memory[i], 2_MiB), 0)
          << "round " << round << ", memory " << i;
    }
  }
}

TEST_P(OverlappingBatchTest, AnElementReadsWhatTheOneBeforeItWrote) {
  ThreadTeam team(2);
  TestPool pool(MixedPool());
  pool.Fill(5);
  CopyEngine engine(pool.reach(), GetParam() ? &team : nullptr, 1s);
  std::vector<std::byte> local = RandomBytes(1_MiB, 6);
  for (Rank rank : {0, 3}) {
    // As a relay would: into rank 0 or 3, from there to rank 1, from there on.
    std::vector<std::uint64_t> sources{AddressOf(local.data()), pool.Address(Zone::kHost, rank, 8),
                                       pool.Address(Zone::kHost, 1, 3_MiB)};
    std::vector<std::uint64_t> destinations{pool.Address(Zone::kHost, rank, 8),
                                            pool.Address(Zone::kHost, 1, 3_MiB),
                                            pool.Address(Zone::kHost, rank, 4_MiB)};
    std::vector<std::uint64_t> sizes(3, 1_MiB);
    ASSERT_TRUE(engine.CopyBatch({sources, destinations, sizes}, Direction::kAuto).ok());
    EXPECT_EQ(std::memcmp(pool.Memory(Zone::kHost, rank) + 4_MiB, local.data(), 1_MiB), 0)
        << "rank " << rank;
  }
}

}  // namespace
}  // namespace memfabric::copy
