// tests/cluster/rank_process.h: a rank in a process of its own, driven line by line (rank_main.cc).
// Killed, by pid, when the object goes.

#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"

namespace memfabric::cluster {

struct Answer {
  int code = -1;
  std::string text;
};

class RankProcess {
 public:
  // `environment`: added to this process's. `network`: a namespace to run in
  // (support/netns/hosts.h); -1: this process's. `etc_hosts`: a file that it has as /etc/hosts, in
  // a mount namespace of its own; "": this machine's.
  explicit RankProcess(const std::map<std::string, std::string>& environment = {}, int network = -1,
                       const std::string& etc_hosts = "");
  ~RankProcess();
  RankProcess(const RankProcess&) = delete;

  pid_t pid() const { return pid_; }

  // Sends a command and waits for its answer; code -9999 when the process ended or did not answer
  // in time (then its stacks are printed, if gdb is there).
  Answer Do(const std::string& command, std::chrono::seconds within = std::chrono::seconds(60));
  // The two halves, for several ranks at once.
  void Send(const std::string& command);
  Answer Receive(std::chrono::seconds within = std::chrono::seconds(60));

  void Signal(int signal);
  void Kill();  // kill -9, and reaps
  // Ends its input and waits; the exit status, or -1 when it did not end in time.
  int Finish(std::chrono::seconds within = std::chrono::seconds(20));

 private:
  void PrintStacks() const;

  pid_t pid_ = -1;
  UniqueFd input_;
  UniqueFd output_;
  std::string pending_;
};

// A port that was free a moment ago.
int FreePort();
std::string FreeUrl();

// Processes 0 … count-1, initialized as those ranks of a world of `world` at `url`.
std::vector<std::unique_ptr<RankProcess>> StartRanks(const std::string& url, int count, int world);
// The same, one rank in each of `networks`.
std::vector<std::unique_ptr<RankProcess>> StartRanksIn(
    const std::vector<int>& networks, const std::string& url, int world,
    const std::map<std::string, std::string>& environment = {});
// The command on all of them at once; every answer must be 0.
void All(const std::vector<std::unique_ptr<RankProcess>>& ranks, const std::string& command);

#define EXPECT_CODE(expected, answer_expression)                                       \
  do {                                                                                 \
    auto answer_ = (answer_expression);                                                \
    EXPECT_EQ((expected), answer_.code) << #answer_expression << ": " << answer_.text; \
  } while (false)
#define ASSERT_CODE(expected, answer_expression)                                       \
  do {                                                                                 \
    auto answer_ = (answer_expression);                                                \
    ASSERT_EQ((expected), answer_.code) << #answer_expression << ": " << answer_.text; \
  } while (false)

}  // namespace memfabric::cluster
