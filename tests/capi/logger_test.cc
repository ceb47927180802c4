// smem_set_extern_logger: lines come in order, have come when a call returns, and a logger that is
// stalled holds up nobody else.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memfabric/smem.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/retry.h"

namespace {

using ::testing::HasSubstr;

struct Kept {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> lines;
  bool stall = false;
  bool stalled = false;
};

Kept& TheKept() {
  static auto* kept = new Kept;
  return *kept;
}

void Keep(int, const char* message) {
  Kept& kept = TheKept();
  std::unique_lock lock(kept.mutex);
  kept.lines.push_back(message);
  kept.stalled = kept.stall;
  kept.changed.notify_all();
  kept.changed.wait(lock, [&] { return !kept.stall; });
  kept.stalled = false;
}

void KeepTwice(int level, const char* message) {
  smem_set_log_level(99);  // fails, and would log for ever
  Keep(level, message);
}

std::size_t Count() {
  std::lock_guard lock(TheKept().mutex);
  return TheKept().lines.size();
}

// Logs one line that names `number`.
void LogLine(int number) { EXPECT_EQ(smem_set_log_level(1000 + number), SMEM_INVALID_PARAM); }

class ExternLogger : public ::testing::Test {
 protected:
  void SetUp() override {
    TheKept().lines.clear();
    smem_set_log_level(SMEM_LOG_WARN);
    ASSERT_EQ(smem_set_extern_logger(&Keep), SMEM_OK);
  }
  void TearDown() override { smem_set_extern_logger(nullptr); }

  static void Stall(bool stall) {
    std::lock_guard lock(TheKept().mutex);
    TheKept().stall = stall;
    TheKept().changed.notify_all();
  }
  static void AwaitStalled() {
    std::unique_lock lock(TheKept().mutex);
    ASSERT_TRUE(TheKept().changed.wait_for(lock, std::chrono::seconds(20),
                                           [] { return TheKept().stalled; }));
  }
};

TEST_F(ExternLogger, HasTheLinesOfACallWhenItReturns) {
  for (int i = 0; i < 200; ++i) {
    LogLine(i);
    ASSERT_EQ(Count(), static_cast<std::size_t>(i + 1));
    EXPECT_THAT(TheKept().lines.back(), HasSubstr(std::to_string(1000 + i)));
  }
}

TEST_F(ExternLogger, ThatIsStalledHoldsUpNobodyElseAndLosesWhatDoesNotFit) {
  Stall(true);
  std::thread first([] { LogLine(0); });
  AwaitStalled();
  auto begin = std::chrono::steady_clock::now();
  for (int i = 1; i <= 5000; ++i) LogLine(i);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(Count(), 1U);
  Stall(false);
  first.join();
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (smem_log_waits() && std::chrono::steady_clock::now() < end) smem_await_log();
  std::lock_guard lock(TheKept().mutex);
  const auto& lines = TheKept().lines;
  ASSERT_EQ(lines.size(), 1 + 4096U + 1);
  for (int i = 0; i <= 4096; ++i)
    EXPECT_THAT(lines[static_cast<std::size_t>(i)], HasSubstr(std::to_string(1000 + i)));
  EXPECT_THAT(lines.back(), HasSubstr("904 lines of the log were dropped"));
}

TEST_F(ExternLogger, GetsNoLinesThatItCausesItself) {
  ASSERT_EQ(smem_set_extern_logger(&KeepTwice), SMEM_OK);
  LogLine(1);
  LogLine(2);
  EXPECT_EQ(Count(), 2U);
}

TEST_F(ExternLogger, ThatIsStalledCanBeReplaced) {
  Stall(true);
  std::thread first([] { LogLine(0); });
  AwaitStalled();
  ASSERT_EQ(smem_set_extern_logger(nullptr), SMEM_OK);
  static std::vector<std::string> others;
  ASSERT_EQ(smem_set_extern_logger([](int, const char* message) { others.push_back(message); }),
            SMEM_OK);
  LogLine(1);
  EXPECT_EQ(others.size(), 1U);
  Stall(false);
  first.join();
  LogLine(2);
  EXPECT_EQ(others.size(), 2U);
}

TEST_F(ExternLogger, StaysInAForkedChildWhileAnotherThreadLogs) {
  std::thread busy([] {
    for (int i = 0; i < 2000; ++i) LogLine(i);
  });
  for (int i = 0; i < 5; ++i) {
    pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      static int calls = 0;
      smem_set_extern_logger([](int, const char*) { ++calls; });
      smem_set_log_level(1001);
      ::_exit(calls == 1 ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(memfabric::RetryOnSignal([&] { return ::waitpid(child, &status, 0); }), child);
    EXPECT_EQ(status, 0);
  }
  busy.join();
}

// A language's lock, held for long by somebody else: the logger's thread waits for it, callers
// don't.
std::mutex language;
void Enter(int enter) { enter != 0 ? language.lock() : language.unlock(); }

TEST_F(ExternLogger, BehindAGateTakesNoLineBeforeItIsInside) {
  ASSERT_EQ(smem_set_gated_logger(&Keep, &Enter), SMEM_OK);
  {
    std::lock_guard lock(language);
    for (int i = 0; i < 10; ++i) LogLine(i);
    EXPECT_EQ(Count(), 0U);
    EXPECT_TRUE(smem_log_waits());
    EXPECT_EQ(smem_deliver_log(), 0);  // as the binding does, inside its lock
    EXPECT_EQ(Count(), 10U);
    EXPECT_FALSE(smem_log_waits());
  }
  LogLine(10);
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (smem_log_waits() && std::chrono::steady_clock::now() < end) smem_await_log();
  EXPECT_EQ(Count(), 11U);
}

}  // namespace
