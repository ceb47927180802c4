// tests/store/server/store_process.h: store_main.cc in a process of its own. Killed, by pid, when
// the object goes.

#pragma once

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/retry.h"
#include "base/url.h"
#include "support/poll_for.h"

namespace memfabric::store::test {

extern const char* const kStoreProgram;  // where the build has put it

class StoreProcess {
 public:
  struct Options {
    uid_t user = ::getuid();
    int descriptors = 1024;
    std::vector<std::string> tls{};  // its tls_info and the file with its key
    std::map<std::string, std::string> environment{};
  };

  explicit StoreProcess(const Options& options) {
    int to_child[2], from_child[2];
    if (::pipe2(to_child, O_CLOEXEC) != 0 || ::pipe2(from_child, O_CLOEXEC) != 0) std::abort();
    std::vector<std::string> words{kStoreProgram, std::to_string(options.user),
                                   std::to_string(options.descriptors)};
    words.insert(words.end(), options.tls.begin(), options.tls.end());
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(to_child[0], STDIN_FILENO);
      ::dup2(from_child[1], STDOUT_FILENO);
      for (const auto& [name, value] : options.environment)
        ::setenv(name.c_str(), value.c_str(), 1);
      ::execv(kStoreProgram, arguments.data());
      ::_exit(127);
    }
    ::close(to_child[0]);
    ::close(from_child[1]);
    input_ = UniqueFd(to_child[1]);
    output_ = UniqueFd(from_child[0]);
  }
  ~StoreProcess() {
    ::kill(pid_, SIGKILL);
    RetryOnSignal([&] { return ::waitpid(pid_, nullptr, 0); });
  }
  StoreProcess(const StoreProcess&) = delete;
  StoreProcess& operator=(const StoreProcess&) = delete;

  // The answer; "" when none came within a minute.
  std::string Do(const std::string& command) {
    const std::string line = command + "\n";
    EXPECT_EQ(RetryOnSignal([&] { return ::write(input_.get(), line.data(), line.size()); }),
              static_cast<ssize_t>(line.size()));
    std::string answer;
    for (char byte = 0; byte != '\n';) {
      pollfd readable{output_.get(), POLLIN, 0};
      if (PollFor({&readable, 1}, std::chrono::seconds(60)) <= 0 ||
          RetryOnSignal([&] { return ::read(output_.get(), &byte, 1); }) != 1)
        return "";
      if (byte != '\n') answer += byte;
    }
    return answer;
  }

  HostPort Serve(std::uint16_t port = 0) {
    const std::string answer = Do(fmt::format("serve {}", port));
    EXPECT_GT(std::atoi(answer.c_str()), 0) << answer;
    return {.host = "127.0.0.1", .port = static_cast<std::uint16_t>(std::atoi(answer.c_str()))};
  }

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  UniqueFd input_;
  UniqueFd output_;
};

}  // namespace memfabric::store::test
