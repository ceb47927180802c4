#include "base/stderr_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/retry.h"

namespace memfabric::log {
namespace {

// As much as stderr takes without waiting.
ssize_t WriteAtOnce(std::string_view text) {
  struct stat what {};
  if (::fstat(STDERR_FILENO, &what) != 0) return -1;
  if (S_ISSOCK(what.st_mode))
    return RetryOnSignal([&] {
      return ::send(STDERR_FILENO, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    });
  if (S_ISFIFO(what.st_mode)) {
    // A description of the pipe of our own: the other has the flags that the program wants.
    UniqueFd own(
        RetryOnSignal([] { return ::open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC); }));
    if (own) return RetryOnSignal([&] { return ::write(own.get(), text.data(), text.size()); });
    if (errno == ENXIO) return -1;  // no reader
  }
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (RetryOnSignal([&] { return ::poll(&ready, 1, 0); }) != 1 || ready.revents != POLLOUT)
    return -1;
  return RetryOnSignal([&] { return ::write(STDERR_FILENO, text.data(), text.size()); });
}

}  // namespace

void StderrSink::sink_it_(const spdlog::details::log_msg& line) {
  spdlog::memory_buf_t text;
  if (torn_) text.push_back('\n');
  if (dropped_ > 0) {
    const std::string lost =
        fmt::format("{} lines of the log were dropped: stderr did not take them", dropped_);
    formatter_->format({line.logger_name, spdlog::level::warn, lost}, text);
  }
  const std::size_t first = text.size();
  formatter_->format(line, text);
  // One write: who reads sees all of it, or nothing, unless it is longer than the pipe has room.
  const ssize_t result = WriteAtOnce({text.data(), text.size()});
  const std::size_t written = result < 0 ? 0 : static_cast<std::size_t>(result);
  if (written > 0) torn_ = written < text.size();
  if (written >= first) dropped_ = 0;
  if (written < text.size()) ++dropped_;
}

}  // namespace memfabric::log
