#include "copy/thread_team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <latch>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace memfabric::copy {
namespace {

TEST(ThreadTeam, RunsEveryPartOnce) {
  for (unsigned helpers : {0U, 1U, 3U}) {
    ThreadTeam team(helpers);
    EXPECT_EQ(team.helpers(), helpers);
    for (std::size_t parts : {0, 1, 2, 3, 100, 5000}) {
      std::vector<std::atomic<int>> runs(parts);
      team.Run(parts, [&](std::size_t part) { ++runs[part]; });
      for (const auto& count : runs) ASSERT_EQ(count.load(), 1);
    }
  }
}

std::ptrdiff_t ThreadsOfThisProcess() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

TEST(ThreadTeam, ThreadsStartWithTheFirstRunAndEndWithTheTeam) {
  std::ptrdiff_t before = ThreadsOfThisProcess();
  {
    ThreadTeam team(3);
    EXPECT_EQ(ThreadsOfThisProcess(), before);
    team.Run(1, [](std::size_t) {});
    EXPECT_EQ(ThreadsOfThisProcess(), before);
    team.Run(2, [](std::size_t) {});
    EXPECT_EQ(ThreadsOfThisProcess(), before + 3);
  }
  EXPECT_EQ(ThreadsOfThisProcess(), before);
}

// Each part waits for the other, so one thread alone would never end.
TEST(ThreadTeam, HelpersReallyHelp) {
  for (int round = 0; round < 20; ++round) {
    ThreadTeam team(1);
    std::latch both(2);
    team.Run(2, [&](std::size_t) { both.arrive_and_wait(); });
  }
}

TEST(ThreadTeam, ABusyHelperIsNotWaitedFor) {
  ThreadTeam team(1);
  std::latch helper_in(2);
  std::latch release(1);
  std::thread first([&] {
    // One part each for the thread and the helper; both stay until released.
    team.Run(2, [&](std::size_t) {
      helper_in.count_down();
      release.wait();
    });
  });
  helper_in.wait();
  std::atomic<int> runs{0};
  std::set<std::thread::id> threads;
  std::mutex mutex;
  team.Run(10, [&](std::size_t) {
    ++runs;
    std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(runs.load(), 10);
  EXPECT_EQ(threads, std::set{std::this_thread::get_id()});
  release.count_down();
  first.join();
}

TEST(ThreadTeam, AfterALateHelperTheNextRunsDoWithoutForAWhile) {
  ThreadTeam team(1);
  auto caller = std::this_thread::get_id();
  // The helper's part takes its time after the caller's has ended: as if it had been put off.
  auto run_with_late_helper = [&] {
    std::latch both(2);
    team.Run(2, [&](std::size_t) {
      both.arrive_and_wait();
      auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
      while (std::this_thread::get_id() != caller && std::chrono::steady_clock::now() < end)
        std::this_thread::yield();
    });
  };
  run_with_late_helper();
  std::atomic<int> helped{0};
  team.Run(1000, [&](std::size_t) { helped += std::this_thread::get_id() != caller; });
  EXPECT_EQ(helped.load(), 0);
  run_with_late_helper();  // would hang if helpers were still done without
}

TEST(ThreadTeam, ManyThreadsRunAtOnce) {
  ThreadTeam team(2);
  constexpr int kThreads = 8;
  constexpr int kRounds = 300;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < kRounds; ++round) {
        // plain memory: tsan looks on
        std::vector<std::size_t> squares(1 + static_cast<std::size_t>((round + t) % 17));
        team.Run(squares.size(), [&](std::size_t part) { squares[part] = part * part; });
        for (std::size_t i = 0; i < squares.size(); ++i) wrong += squares[i] != i * i;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(ThreadTeam, APartMayRunParts) {
  ThreadTeam team(2);
  std::atomic<int> runs{0};
  team.Run(4, [&](std::size_t) { team.Run(4, [&](std::size_t) { ++runs; }); });
  EXPECT_EQ(runs.load(), 16);
}

}  // namespace
}  // namespace memfabric::copy
