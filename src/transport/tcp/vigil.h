// transport/tcp/vigil.h: whether a peer that somebody waits for is still alive. Pure: times and
// counts come from the caller.
//
// A sign of life is a byte from the peer, or the peer's host taking more of what was sent than our
// own questions: on a slow network the question, or the answer to what was put, waits behind much
// else. A host takes a little, once, for a process that is stopped; that buys it another limit, not
// for ever.
//
// Time in which the waiting process itself didn't run is nobody's silence: a debugger, a suspended
// machine or a starved one says nothing of the peer, whose answers may lie in the socket unread.
//
// Threads: one at a time.

#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

#include "base/clock.h"

namespace memfabric::transport::tcp {

class Vigil {
 public:
  static constexpr std::chrono::milliseconds kPingPeriod{500};
  // docs/contract/python.md §2: an error within 2 s
  static constexpr std::chrono::milliseconds kSilenceLimit{1900};
  // More time between two looks than this is time in which the process didn't run. Callers look
  // four times as often.
  static constexpr std::chrono::milliseconds kLongestLook{200};

  struct Signs {
    TimePoint heard;          // when bytes last came in; the clock's epoch: never
    std::uint64_t taken = 0;  // bytes of the connection that the peer's host has acknowledged
    std::uint64_t asked = 0;  // bytes of questions (PING) handed to the connection
  };
  enum class Verdict { kPatience, kAsk, kSilent };

  Vigil(TimePoint now, const Signs& signs)
      : looked_(now), heard_(signs.heard), taken_(Answered(signs)) {}

  Verdict Look(TimePoint now, const Signs& signs) {
    const auto passed =
        std::min<std::chrono::nanoseconds>(now - std::exchange(looked_, now), kLongestLook);
    const std::int64_t taken = Answered(signs);
    if (signs.heard > heard_ || taken > taken_) {
      heard_ = std::max(heard_, signs.heard);
      taken_ = std::max(taken_, taken);
      silence_ = {};
      next_ask_ = kPingPeriod;
      return Verdict::kPatience;
    }
    silence_ += passed;
    if (silence_ >= kSilenceLimit) return Verdict::kSilent;
    if (silence_ < next_ask_) return Verdict::kPatience;
    next_ask_ += kPingPeriod;
    return Verdict::kAsk;
  }

  std::chrono::milliseconds silence() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(silence_);
  }

 private:
  // Rises only with what isn't a question.
  static std::int64_t Answered(const Signs& signs) {
    return static_cast<std::int64_t>(signs.taken - signs.asked);
  }

  TimePoint looked_;
  TimePoint heard_;
  std::int64_t taken_;
  std::chrono::nanoseconds silence_{0};
  std::chrono::nanoseconds next_ask_{kPingPeriod};
};

}  // namespace memfabric::transport::tcp
