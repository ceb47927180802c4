// base/stderr_sink.h: lines of the log to stderr, by threads that others may be waiting for.
//
// A line that stderr doesn't take at once, because nobody reads the pipe, is dropped and counted;
// the next one that it takes says how many. What stderr is, and its flags, are left alone: it
// belongs to the program, and to other processes.
//
// Owner: the log. Threads: any.

#pragma once

#include <spdlog/sinks/base_sink.h>

#include <cstdint>
#include <mutex>

namespace memfabric::log {

class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& line) override;
  void flush_() override {}

  std::uint64_t dropped_ = 0;
  bool torn_ = false;  // what was written last ends within a line
};

}  // namespace memfabric::log
