#include "base/read_gate.h"

#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

namespace memfabric {
namespace {

using namespace std::chrono_literals;

void ExpectSynchronizeWaitsFor(std::unique_ptr<ReadGate::Reader> reader, ReadGate& gate) {
  std::atomic<bool> exiting{false};
  std::latch started(1);
  auto synchronized = std::async(std::launch::async, [&] {
    started.count_down();
    gate.Synchronize();
    return exiting.load();
  });
  started.wait();
  // It can't be ready: the reader is inside. The wait gives a wrong gate the time to show itself.
  EXPECT_EQ(synchronized.wait_for(20ms), std::future_status::timeout);
  exiting = true;
  reader.reset();
  EXPECT_TRUE(synchronized.get());
}

TEST(ReadGate, SynchronizeWithNobodyInsideReturns) {
  ReadGate gate;
  for (int i = 0; i < 5; ++i) gate.Synchronize();
  EXPECT_FALSE(gate.closed());
  EXPECT_TRUE(ReadGate::Reader(gate));
}

TEST(ReadGate, SynchronizeWaitsForAReaderThatHadEntered) {
  ReadGate gate;
  ExpectSynchronizeWaitsFor(std::make_unique<ReadGate::Reader>(gate), gate);
}

TEST(ReadGate, AGracePassesOnceReadersThatHadEnteredHaveExited) {
  ReadGate gate;
  auto earlier = std::make_unique<ReadGate::Reader>(gate);
  auto grace = gate.Begin();
  ASSERT_TRUE(grace.has_value());
  EXPECT_FALSE(gate.Passed(*grace));
  auto later = std::make_unique<ReadGate::Reader>(gate);
  EXPECT_FALSE(gate.Passed(*grace));
  // Its readers would be lost among those of another.
  EXPECT_FALSE(gate.Begin().has_value());
  earlier.reset();
  EXPECT_TRUE(gate.Passed(*grace));
  auto next = gate.Begin();
  ASSERT_TRUE(next.has_value());
  EXPECT_TRUE(gate.Passed(*grace));
  EXPECT_FALSE(gate.Passed(*next));
  later.reset();
  EXPECT_TRUE(gate.Passed(*next));
}

TEST(ReadGate, SynchronizeWaitsForReadersWhomAnUnfinishedGraceMeant) {
  ReadGate gate;
  auto earlier = std::make_unique<ReadGate::Reader>(gate);
  auto grace = gate.Begin();
  ASSERT_TRUE(grace.has_value());
  ExpectSynchronizeWaitsFor(std::move(earlier), gate);
  EXPECT_TRUE(gate.Passed(*grace));
}

TEST(ReadGate, SynchronizeDoesNotWaitForReadersThatEnterLater) {
  ReadGate gate;
  auto earlier = std::make_unique<ReadGate::Reader>(gate);
  std::latch started(1);
  auto synchronized = std::async(std::launch::async, [&] {
    started.count_down();
    gate.Synchronize();
  });
  started.wait();
  // Readers come and go while the writer waits; those that enter after its change must not hold it
  // up.
  std::vector<std::unique_ptr<ReadGate::Reader>> held;
  std::thread([&] {
    for (int i = 0; i < 1000; ++i) ReadGate::Reader passing(gate);
  }).join();
  EXPECT_EQ(synchronized.wait_for(20ms), std::future_status::timeout);
  held.push_back(std::make_unique<ReadGate::Reader>(gate));
  earlier.reset();
  ASSERT_EQ(synchronized.wait_for(10s), std::future_status::ready);
}

TEST(ReadGate, TwoRoundsWaitForTheReaderOfEach) {
  ReadGate gate;
  for (int round = 0; round < 4; ++round) {
    auto reader = std::make_unique<ReadGate::Reader>(gate);
    auto synchronized = std::async(std::launch::async, [&] { gate.Synchronize(); });
    EXPECT_EQ(synchronized.wait_for(5ms), std::future_status::timeout);
    reader.reset();
    ASSERT_EQ(synchronized.wait_for(10s), std::future_status::ready);
  }
}

TEST(ReadGate, CloseRefusesAtOnceAndWaitsForReadersOfBothPhases) {
  ReadGate gate;
  auto first = std::make_unique<ReadGate::Reader>(gate);
  auto synchronized = std::async(std::launch::async, [&] { gate.Synchronize(); });
  EXPECT_EQ(synchronized.wait_for(5ms), std::future_status::timeout);
  auto second = std::make_unique<ReadGate::Reader>(gate);
  auto closed = std::async(std::launch::async, [&] { gate.Close(); });
  while (!gate.closed()) std::this_thread::yield();
  EXPECT_FALSE(gate.Enter().entered());
  EXPECT_FALSE(ReadGate::Reader(gate));
  first.reset();
  ASSERT_EQ(synchronized.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(closed.wait_for(5ms), std::future_status::timeout);
  second.reset();
  ASSERT_EQ(closed.wait_for(10s), std::future_status::ready);
  gate.Close();
  gate.Synchronize();
}

TEST(ReadGate, ATokenMayBeGivenBackByAnotherThread) {
  ReadGate gate;
  ReadGate::Token token = gate.Enter();
  ASSERT_TRUE(token.entered());
  std::thread([&] { gate.Exit(token); }).join();
  gate.Close();
}

// Writers replace and free what readers use; a sanitizer, or the canary, tells when one is freed
// too early.
TEST(ReadGate, NothingIsTakenAwayUnderAReader) {
  constexpr int kReaders = 8;
  constexpr int kWriters = 3;
  constexpr int kChangesPerWriter = 400;
  constexpr std::uint64_t kAlive = 0xa11e'a11e'a11e'a11e;
  struct Thing {
    std::uint64_t alive = kAlive;
    std::uint64_t plain = 0;  // written by the writer alone; tsan tells when a reader overlaps
    ~Thing() { alive = 0; }
  };
  ReadGate gate;
  std::atomic<Thing*> current{new Thing};
  std::atomic<std::uint64_t> broken{0};
  std::atomic<std::uint64_t> refused{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      for (;;) {
        ReadGate::Reader reader(gate);
        if (!reader) break;
        Thing* thing = current.load(std::memory_order_acquire);
        if (thing->alive != kAlive || thing->plain != 0) ++broken;
      }
      ++refused;
    });
  }
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&] {
      for (int change = 0; change < kChangesPerWriter; ++change) {
        Thing* old = current.exchange(new Thing, std::memory_order_acq_rel);
        gate.Synchronize();
        old->plain = 1;
        delete old;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  gate.Close();
  delete current.exchange(nullptr);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(broken.load(), 0U);
  EXPECT_EQ(refused.load(), static_cast<std::uint64_t>(kReaders));
}

}  // namespace
}  // namespace memfabric
