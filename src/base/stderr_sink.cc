#include "base/stderr_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

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
  if (dropped_ > 0) {
    const std::string lost =
        fmt::format("{} lines of the log were dropped: stderr did not take them", dropped_);
    formatter_->format({line.logger_name, spdlog::level::warn, lost}, text);
    if (Put({text.data(), text.size()})) dropped_ = 0;
    text.clear();
  }
  formatter_->format(line, text);
  if (dropped_ > 0 || !Put({text.data(), text.size()})) ++dropped_;
}

bool StderrSink::Put(std::string_view text) {
  if (torn_ && WriteAtOnce("\n") != 1) return false;
  torn_ = false;
  const ssize_t written = WriteAtOnce(text);
  torn_ = written > 0 && static_cast<std::size_t>(written) < text.size();
  return written == static_cast<ssize_t>(text.size());
}

}  // namespace memfabric::log
