// tests/support/in_child.h: runs a piece of a test in a forked child, for what would spoil the
// test's own process: limits, signals, what a fork sees.

#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>

#include "base/retry.h"
#include "support/poll_for.h"

namespace memfabric {

// What `body` returned in the child; "killed by …" when a signal ended it, "hangs" when it took
// longer than a minute. REQUIRES: this process has no other threads.
inline std::string InChild(const std::function<std::string()>& body) {
  int pipe_fds[2];
  if (::pipe(pipe_fds) != 0) return "no pipe";
  pid_t child = ::fork();
  if (child < 0) return "no child";
  if (child == 0) {
    ::close(pipe_fds[0]);
    std::string text = body();
    ssize_t written = RetryOnSignal([&] { return ::write(pipe_fds[1], text.data(), text.size()); });
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(pipe_fds[1]);
  std::string text;
  constexpr std::chrono::minutes kMinute{1};
  for (char buffer[4096];;) {
    pollfd readable{pipe_fds[0], POLLIN, 0};
    if (PollFor({&readable, 1}, kMinute) == 0) {
      ::kill(child, SIGKILL);
      text = "hangs";
      break;
    }
    ssize_t count = RetryOnSignal([&] { return ::read(pipe_fds[0], buffer, sizeof(buffer)); });
    if (count <= 0) break;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(pipe_fds[0]);
  int status = 0;
  RetryOnSignal([&] { return ::waitpid(child, &status, 0); });
  if (text != "hangs" && WIFSIGNALED(status))
    return std::string("killed by ") + ::strsignal(WTERMSIG(status));
  return text;
}

}  // namespace memfabric
