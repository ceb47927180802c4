#include "base/work_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "base/wait.h"

namespace memfabric {
namespace {

using namespace std::chrono_literals;

Deadline Soon() { return std::chrono::steady_clock::now() + 20s; }

TEST(WorkQueue, WaitWithoutWorkReturns) {
  WorkQueue queue("mf-test");
  EXPECT_TRUE(queue.Wait(Soon()).ok());
}

TEST(WorkQueue, RunsInOrderOnOneThread) {
  WorkQueue queue("mf-test");
  std::vector<int> order;  // plain: one thread at a time writes it, and Wait shows it to us
  std::vector<std::thread::id> threads;
  for (int i = 0; i < 100; ++i) {
    queue.Submit([&, i] {
      order.push_back(i);
      threads.push_back(std::this_thread::get_id());
      return Ok();
    });
  }
  EXPECT_TRUE(queue.Wait(Soon()).ok());
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_NE(threads.front(), std::this_thread::get_id());
  EXPECT_EQ(threads.front(), threads.back());
}

TEST(WorkQueue, TheFirstErrorIsReturnedOnce) {
  WorkQueue queue("mf-test");
  queue.Submit([] { return Ok(); });
  queue.Submit([] { return Disconnected("the first"); });
  queue.Submit([] { return Internal("the second"); });
  Status status = queue.Wait(Soon());
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_EQ(status.message(), "the first");
  EXPECT_TRUE(queue.Wait(Soon()).ok());
  queue.Submit([] { return Internal("a later one"); });
  EXPECT_EQ(queue.Wait(Soon()).message(), "a later one");
}

TEST(WorkQueue, WaitIsForWhatWasSubmittedBeforeAndNotForMore) {
  WorkQueue queue("mf-test");
  std::latch go_on(1);
  std::latch second_runs(1);
  std::atomic<int> ended{0};
  queue.Submit([&] {
    ++ended;
    return Ok();
  });
  std::thread([&] {
    queue.Submit([&] {
      ++ended;
      return Ok();
    });
  }).join();  // by another thread
  EXPECT_TRUE(queue.Wait(Soon()).ok());
  EXPECT_EQ(ended.load(), 2);
  queue.Submit([&] {
    second_runs.count_down();
    go_on.wait();
    return Internal("late");
  });
  second_runs.wait();
  EXPECT_TRUE(IsDeadlineExceeded(queue.Wait(std::chrono::steady_clock::now() + 1ms)));
  EXPECT_TRUE(IsDeadlineExceeded(queue.Wait(Deadline{})));
  std::latch waiting(1);
  std::atomic<bool> later_ran{false};
  std::thread waiter([&] {
    waiting.count_down();
    EXPECT_EQ(queue.Wait(Soon()).message(), "late");
  });
  waiting.wait();
  go_on.count_down();
  waiter.join();
  queue.Submit([&] {
    later_ran = true;
    return Ok();
  });
  EXPECT_TRUE(queue.Wait(Soon()).ok());
  EXPECT_TRUE(later_ran.load());
}

TEST(WorkQueue, TheDestructorRunsWhatIsQueued) {
  std::atomic<int> runs{0};
  {
    WorkQueue queue("mf-test");
    for (int i = 0; i < 50; ++i)
      queue.Submit([&] {
        ++runs;
        return Ok();
      });
  }
  EXPECT_EQ(runs.load(), 50);
}

TEST(WorkQueue, WhatTheWorkHeldIsGoneWhenWaitReturns) {
  WorkQueue queue("mf-test");
  auto held = std::make_shared<int>(1);
  queue.Submit([held] { return Ok(); });
  EXPECT_TRUE(queue.Wait(Soon()).ok());
  EXPECT_EQ(held.use_count(), 1);
}

TEST(WorkQueue, AnInterruptEndsTheWaitAndNotTheWork) {
  WorkQueue queue("mf-test");
  std::latch go_on(1);
  queue.Submit([&] {
    go_on.wait();
    return Ok();
  });
  InterruptCheck former = SetInterruptCheck([] { return 1; });
  EXPECT_TRUE(IsInterrupted(queue.Wait(Soon())));
  SetInterruptCheck(former);
  go_on.count_down();
  EXPECT_TRUE(queue.Wait(Soon()).ok());
}

TEST(WorkQueue, ManyThreadsSubmitAndWait) {
  WorkQueue queue("mf-test");
  std::uint64_t sum = 0;  // only the queue's thread writes it
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        bool mine = false;
        queue.Submit([&] {
          ++sum;
          mine = true;
          return Ok();
        });
        EXPECT_TRUE(queue.Wait(Soon()).ok());
        EXPECT_TRUE(mine);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(queue.Wait(Soon()).ok());
  EXPECT_EQ(sum, 1200U);
}

}  // namespace
}  // namespace memfabric
