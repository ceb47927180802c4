#include "copy/lanes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "base/wait.h"

namespace memfabric::copy {
namespace {

using namespace std::chrono_literals;

Deadline Soon() { return std::chrono::steady_clock::now() + 20s; }

Footprint Of(std::vector<std::uint32_t> ranks, std::vector<ByteRange> reads = {},
             std::vector<ByteRange> writes = {}) {
  return {std::move(ranks), std::move(reads), std::move(writes)};
}

// Copies that say when they begin and end only when they are let.
struct Slow {
  std::latch begun{1};
  std::latch go_on{1};
  std::function<Status()> Work(Status status = Ok()) {
    return [this, status] {
      begun.count_down();
      go_on.wait();
      return status;
    };
  }
};

TEST(Lanes, WaitWithoutWorkReturns) {
  Lanes lanes;
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
}

TEST(Lanes, ASlowRankDelaysNobodyElse) {
  Lanes lanes;
  std::vector<std::unique_ptr<Slow>> slow;
  for (std::uint32_t rank = 0; rank < 20; ++rank) {
    slow.push_back(std::make_unique<Slow>());
    lanes.Submit(Of({rank}), slow.back()->Work());
  }
  std::latch quick(500);
  for (int i = 0; i < 500; ++i) {
    lanes.Submit(Of({30}), [&] {
      quick.count_down();
      return Ok();
    });
  }
  quick.wait();  // while the twenty hang
  for (auto& one : slow) one->begun.wait();
  for (auto& one : slow) one->go_on.count_down();
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
}

TEST(Lanes, MoreSlowRanksThanThreadsOnlyWait) {
  Lanes lanes;
  Slow all;
  std::latch begun(Lanes::kMostThreads);
  std::atomic<int> ended{0};
  for (std::uint32_t rank = 0; rank < Lanes::kMostThreads + 8; ++rank) {
    lanes.Submit(Of({rank}), [&, rank] {
      if (rank < Lanes::kMostThreads) begun.count_down();
      all.go_on.wait();
      ++ended;
      return Ok();
    });
  }
  begun.wait();
  all.go_on.count_down();
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
  EXPECT_EQ(ended, static_cast<int>(Lanes::kMostThreads) + 8);
}

TEST(Lanes, ARanksCopiesKeepTheirOrder) {
  Lanes lanes;
  Slow slow;
  std::vector<int> order;  // plain: one at a time writes it, and Wait shows it to us
  lanes.Submit(Of({1}), slow.Work());
  for (int i = 0; i < 100; ++i) {
    lanes.Submit(i % 10 == 0 ? Of({2, 1, 2}) : Of({1}), [&, i] {
      order.push_back(i);
      return Ok();
    });
  }
  slow.begun.wait();
  std::latch other(1);
  lanes.Submit(Of({3}), [&] {
    other.count_down();
    return Ok();
  });
  other.wait();
  slow.go_on.count_down();
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

// The second of two copies to different ranks waits for the first to end.
void ExpectWaits(const Footprint& first, const Footprint& second) {
  Lanes lanes;
  Slow slow;
  std::atomic<bool> first_ended{false};
  std::latch other(1);
  lanes.Submit(first, [&] {
    auto status = slow.Work()();
    first_ended = true;
    return status;
  });
  slow.begun.wait();
  lanes.Submit(second, [&] {
    EXPECT_TRUE(first_ended);
    return Ok();
  });
  lanes.Submit(Of({99}), [&] {  // comes after the second, would that not wait
    other.count_down();
    return Ok();
  });
  other.wait();
  slow.go_on.count_down();
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
}

// It runs beside the first.
void ExpectRunsBeside(const Footprint& first, const Footprint& second) {
  Lanes lanes;
  Slow slow;
  std::latch second_ran(1);
  lanes.Submit(first, slow.Work());
  lanes.Submit(second, [&] {
    second_ran.count_down();
    return Ok();
  });
  second_ran.wait();
  slow.go_on.count_down();
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
}

TEST(Lanes, WhatIsWrittenIsReadAndWrittenInOrder) {
  const ByteRange a{1000, 2000}, b{2000, 3000}, in_both{1999, 2001};
  // read what was written
  ExpectWaits(Of({1}, {}, {a}), Of({2}, {in_both}, {}));
  // written once it was read
  ExpectWaits(Of({1}, {a}, {}), Of({2}, {}, {in_both}));
  // written again
  ExpectWaits(Of({1}, {}, {b}), Of({2}, {}, {in_both}));
  // both read it
  ExpectRunsBeside(Of({1}, {a}, {}), Of({2}, {a}, {}));
  // they touch
  ExpectRunsBeside(Of({1}, {}, {a}), Of({2}, {}, {b}));
  // between the pieces of the other
  ExpectRunsBeside(Of({1}, {}, {{0, 10}, {90, 100}}), Of({2}, {}, {{50, 60}, {10, 20}}));
  ExpectWaits(Of({1}, {}, {{90, 100}, {0, 10}}), Of({2}, {{95, 96}, {40, 50}}, {}));
}

// Any interleaving gives what one after the other would: copies between cells, by ranks that don't
// matter to the outcome.
TEST(Lanes, ChainsThroughMemoryEndAsInOrder) {
  std::minstd_rand random(7);
  for (int round = 0; round < 20; ++round) {
    constexpr std::size_t kCells = 24;
    std::vector<int> cells(kCells), expected(kCells);
    for (std::size_t i = 0; i < kCells; ++i) cells[i] = expected[i] = static_cast<int>(i);
    Lanes lanes;
    for (int i = 0; i < 400; ++i) {
      std::size_t from = random() % kCells, to = random() % kCells;
      auto range = [&](std::size_t cell) {
        return ByteRange{reinterpret_cast<std::uintptr_t>(&cells[cell]),
                         reinterpret_cast<std::uintptr_t>(&cells[cell] + 1)};
      };
      expected[to] = expected[from] + i;
      lanes.Submit(Of({static_cast<std::uint32_t>(random() % 8)}, {range(from)}, {range(to)}),
                   [&cells, from, to, i] {
                     cells[to] = cells[from] + i;
                     return Ok();
                   });
    }
    ASSERT_TRUE(lanes.Wait(Soon()).ok());
    EXPECT_EQ(cells, expected);
  }
}

TEST(Lanes, TheErrorThatWasSubmittedFirstIsReturnedOnce) {
  Lanes lanes;
  Slow slow;
  lanes.Submit(Of({1}), slow.Work(Disconnected("the first")));
  std::latch second(1);
  lanes.Submit(Of({2}), [&] {
    second.count_down();
    return Internal("the second");
  });
  second.wait();
  slow.go_on.count_down();
  EXPECT_EQ(lanes.Wait(Soon()).message(), "the first");
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
}

TEST(Lanes, WaitIsForWhatWasSubmittedBeforeAndNotForMore) {
  Lanes lanes;
  Slow slow;
  lanes.Submit(Of({1}), slow.Work());
  slow.begun.wait();
  EXPECT_TRUE(IsDeadlineExceeded(lanes.Wait(std::chrono::steady_clock::now() + 1ms)));
  InterruptCheck former = SetInterruptCheck([] { return 1; });
  EXPECT_TRUE(IsInterrupted(lanes.Wait(Soon())));
  SetInterruptCheck(former);
  std::latch waiting(1);
  Slow later;
  std::thread waiter([&] {
    waiting.count_down();
    EXPECT_TRUE(lanes.Wait(Soon()).ok());
  });
  waiting.wait();
  slow.go_on.count_down();
  waiter.join();
  lanes.Submit(Of({2}), later.Work());
  later.begun.wait();
  later.go_on.count_down();
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
}

TEST(Lanes, TheDestructorRunsWhatIsQueued) {
  std::atomic<int> runs{0};
  {
    Lanes lanes;
    for (std::uint32_t i = 0; i < 200; ++i)
      lanes.Submit(Of({i % 7}), [&] {
        ++runs;
        return Ok();
      });
  }
  EXPECT_EQ(runs.load(), 200);
}

TEST(Lanes, WhatTheWorkHeldIsGoneWhenWaitReturns) {
  Lanes lanes;
  auto held = std::make_shared<int>(1);
  lanes.Submit(Of({1}), [held] { return Ok(); });
  EXPECT_TRUE(lanes.Wait(Soon()).ok());
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Lanes, ManyThreadsSubmitAndWait) {
  Lanes lanes;
  std::uint64_t sums[3] = {};  // each only by its rank's copies
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        bool mine = false;
        lanes.Submit(Of({t % 3}), [&] {
          ++sums[t % 3];
          mine = true;
          return Ok();
        });
        EXPECT_TRUE(lanes.Wait(Soon()).ok());
        EXPECT_TRUE(mine);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sums[0] + sums[1] + sums[2], 1200U);
}

}  // namespace
}  // namespace memfabric::copy
