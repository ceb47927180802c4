// base/thread.h: the one way in which this library starts a thread.
//
// A thread of ours has a name that begins with "mf-", which debuggers and /proc/self/task/*/comm
// show. It has a small stack. It takes no signals but those of its own faults: the others are for
// the program's threads. A thread that the machine refuses is an error that names the limits.
//
// Owner: whoever it works for. Threads: one at a time may use a Thread; IsCurrent may be called
// from any once it is started.

#pragma once

#include <pthread.h>
#include <signal.h>

#include <cstddef>
#include <functional>
#include <string_view>

#include "base/status.h"

namespace memfabric {

// The stack of threads that run our own code. Completions of gRPC, OpenSSL's handshakes and copies
// touch 36 KiB at most, as measured; but a reactor reserves 61 KiB for a message, which may nest.
// It is address space: memory is taken as it is touched. Sanitizers' frames are larger.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMFABRIC_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define MEMFABRIC_SANITIZED 1
#endif
#endif
#ifdef MEMFABRIC_SANITIZED
constexpr std::size_t kThreadStackBytes = 2 << 20;
#else
constexpr std::size_t kThreadStackBytes = 256 << 10;
#endif

class Thread {
 public:
  enum class Stack {
    kOurs,  // kThreadStackBytes
    // the process's (ulimit -s): the thread runs code that isn't ours, as a user's callback
    kTheUsers,
  };

  Thread() = default;
  ~Thread() { Join(); }
  Thread(Thread&& other) noexcept;
  Thread& operator=(Thread&& other) noexcept;  // joins what it was before

  // `name`: "mf-…", 15 characters at most. OutOfMemory: the machine refuses it; the message names
  // the limits.
  static Result<Thread> Start(std::string_view name, std::function<void()> body,
                              Stack stack = Stack::kOurs);
  // The same for a thread that nobody joins.
  static Status StartDetached(std::string_view name, std::function<void()> body,
                              Stack stack = Stack::kOurs);

  bool started() const { return started_; }  // and not joined
  // Waits for its end; nothing happens when there is none. REQUIRES: not on the thread.
  void Join();
  bool IsCurrent() const { return started_ && ::pthread_equal(handle_, ::pthread_self()) != 0; }

 private:
  pthread_t handle_{};
  bool started_ = false;
};

// While it lives, this thread takes no signals but those of its own faults, which a crash reporter
// wants. Threads that libraries start meanwhile inherit that for good.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t former_;
};

}  // namespace memfabric
