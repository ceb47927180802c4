#include "base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/last_error.h"
#include "base/retry.h"
#include "support/in_child.h"
#include "support/shell.h"

namespace memfabric {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class LogTest : public ::testing::Test {
 protected:
  void TearDown() override {
    log::SetSink({});
    log::SetLevel(LogLevel::kError);
    log::SetRank(-1);
  }
};

TEST_F(LogTest, SinkGetsWhatTheLevelLetsThrough) {
  std::vector<std::pair<LogLevel, std::string>> lines;
  log::SetSink(
      [&](LogLevel level, const std::string& message) { lines.emplace_back(level, message); });
  log::SetLevel(LogLevel::kWarn);
  LOG(kDebug, "no");
  LOG(kInfo, "no");
  LOG(kWarn, "size {} of {}", 3, "x");
  LOG(kError, "yes");
  EXPECT_THAT(lines,
              ElementsAre(Pair(LogLevel::kWarn, "size 3 of x"), Pair(LogLevel::kError, "yes")));
  log::SetLevel(LogLevel::kOff);
  LOG(kError, "no");
  EXPECT_EQ(lines.size(), 2u);
}

TEST_F(LogTest, WhatIsOffIsNotEvenEvaluated) {
  int evaluated = 0;
  log::SetLevel(LogLevel::kError);
  LOG(kInfo, "{}", ++evaluated);
  EXPECT_EQ(evaluated, 0);
}

TEST_F(LogTest, SinkMayLogAndReplaceItself) {
  int calls = 0;
  log::SetLevel(LogLevel::kInfo);
  log::SetSink([&](LogLevel, const std::string&) {
    if (++calls > 1) return;
    LOG(kInfo, "from the sink");
    log::SetSink([&](LogLevel, const std::string&) { calls += 10; });
  });
  LOG(kInfo, "one");
  EXPECT_EQ(calls, 2);
  LOG(kInfo, "two");
  EXPECT_EQ(calls, 12);
}

TEST_F(LogTest, StderrGetsOneLineWithLevelProcessAndRank) {
  log::SetLevel(LogLevel::kInfo);
  ::testing::internal::CaptureStderr();
  LOG(kWarn, "before");
  log::SetRank(7);
  LOG(kInfo, "after");
  std::string text = ::testing::internal::GetCapturedStderr();
  std::string date = "[0-9]+-[0-9]+-[0-9]+ [0-9]+:[0-9]+:[0-9]+\\.[0-9]+ ";
  std::string pid = std::to_string(::getpid());
  EXPECT_THAT(text, ::testing::MatchesRegex(date + "W " + pid + " rank - before\n" + date + "I " +
                                            pid + " rank 7 after\n"));
}

// As a launcher that doesn't read: a line that doesn't fit is lost, and nobody waits.
TEST_F(LogTest, APipeThatNobodyReadsHoldsUpNobody) {
  EXPECT_EQ(InChild([]() -> std::string {
              int pipe[2];
              if (::pipe(pipe) != 0) return "no pipe";
              ::fcntl(pipe[1], F_SETPIPE_SZ, 4096);
              ::dup2(pipe[1], STDERR_FILENO);
              const std::string longest(3000, 'x');
              for (int line = 0; line < 10; ++line) LOG(kError, "{} {}", line, longest);
              if ((::fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK) != 0) return "changed stderr";
              std::string text(65536, ' ');
              text.resize(RetryOnSignal([&] { return ::read(pipe[0], text.data(), 65536); }));
              if (text.find(" 0 xxx") == std::string::npos || text.back() != '\n') return text;
              LOG(kError, "the last");
              text.resize(65536);
              text.resize(RetryOnSignal([&] { return ::read(pipe[0], text.data(), 65536); }));
              const auto lost = text.find("9 lines of the log were dropped");
              const auto last = text.find("the last\n");
              return lost < last && last != std::string::npos ? "" : text;
            }),
            "");
}

TEST_F(LogTest, ALineThatIsCutOffIsFollowedByAnother) {
  EXPECT_EQ(InChild([]() -> std::string {
              int pipe[2];
              if (::pipe(pipe) != 0) return "no pipe";
              ::fcntl(pipe[1], F_SETPIPE_SZ, 4096);
              ::dup2(pipe[1], STDERR_FILENO);
              LOG(kError, "{}", std::string(10000, 'x'));
              std::string text(65536, ' ');
              text.resize(RetryOnSignal([&] { return ::read(pipe[0], text.data(), 65536); }));
              if (text.size() != 4096) return "not cut off";
              LOG(kError, "the last");
              text.resize(65536);
              text.resize(RetryOnSignal([&] { return ::read(pipe[0], text.data(), 65536); }));
              return text.front() == '\n' && text.ends_with("the last\n") ? "" : text;
            }),
            "");
}

TEST_F(LogTest, ThreadsMayLogWhileTheSinkIsReplaced) {
  log::SetLevel(LogLevel::kInfo);
  auto ignore = [](LogLevel, const std::string&) {};
  log::SetSink(ignore);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([] {
      for (int line = 0; line < 1000; ++line) LOG(kInfo, "{}", line);
    });
  for (int i = 0; i < 200; ++i) log::SetSink(ignore);
  for (std::thread& thread : threads) thread.join();
}

// The level as another process, with this environment, begins with it.
std::string FirstLevel(const std::string& environment) {
  std::string command = "env -u MEMFABRIC_LOG_LEVEL -u ASCEND_MF_LOG_LEVEL -u MF_LOG_LEVEL " +
                        environment + " " PRINT_LOG_LEVEL;
  const Printed printed = RunInShell(command);
  return printed.status == 0 ? printed.text : "failed";
}

TEST(LogEnvironment, SetsTheFirstLevelOursFirst) {
  EXPECT_EQ(FirstLevel(""), "3");
  EXPECT_EQ(FirstLevel("ASCEND_MF_LOG_LEVEL=0"), "0");
  EXPECT_EQ(FirstLevel("MF_LOG_LEVEL=1"), "1");
  EXPECT_EQ(FirstLevel("MF_LOG_LEVEL=1 ASCEND_MF_LOG_LEVEL=2"), "2");
  EXPECT_EQ(FirstLevel("ASCEND_MF_LOG_LEVEL=2 MEMFABRIC_LOG_LEVEL=4"), "4");
  EXPECT_EQ(FirstLevel("MEMFABRIC_LOG_LEVEL=5"), "3");
  EXPECT_EQ(FirstLevel("MEMFABRIC_LOG_LEVEL=info"), "3");
  EXPECT_EQ(FirstLevel("MEMFABRIC_LOG_LEVEL=00"), "3");
}

TEST(CheckDeathTest, EndsTheProcessAndSaysWhere) {
  CHECK(1 + 1 == 2);
  EXPECT_DEATH(CHECK(1 + 1 == 3), "log_test.cc:[0-9]+: CHECK failed: 1 \\+ 1 == 3");
}

TEST(LastErrorTest, IsEachThreadsOwn) {
  ThisThreadsLastError() = {-2000, "here"};
  std::thread([] {
    EXPECT_EQ(ThisThreadsLastError().code, 0);
    EXPECT_EQ(ThisThreadsLastError().message, "");
    ThisThreadsLastError().message = "there";
  }).join();
  EXPECT_EQ(ThisThreadsLastError().message, "here");
}

}  // namespace
}  // namespace memfabric
