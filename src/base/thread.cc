#include "base/thread.h"

#include <dlfcn.h>

#include <memory>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/thread_limits.h"

namespace memfabric {
namespace {

constexpr std::size_t kMostNameBytes = 15;  // of the kernel's

struct Beginning {
  std::string name;
  std::function<void()> body;
};

void* Begin(void* argument) {
  std::unique_ptr<Beginning> beginning(static_cast<Beginning*>(argument));
  ::pthread_setname_np(::pthread_self(), beginning->name.c_str());
  beginning->body();
  return nullptr;
}

// glibc takes the thread-local variables of every library of the process from the stack: some have
// many. What it wants for them is said by a function that it exports for runtimes, without a
// header.
std::size_t ReservedBytes(const pthread_attr_t& attributes) {
  using Minimum = std::size_t (*)(const pthread_attr_t*);
  static const auto minimum =
      reinterpret_cast<Minimum>(::dlsym(RTLD_DEFAULT, "__pthread_get_minstack"));
  return minimum == nullptr ? 0 : minimum(&attributes);
}

Result<pthread_t> Create(std::string_view name, std::function<void()> body, Thread::Stack stack,
                         int detach_state) {
  CHECK(name.starts_with("mf-") && name.size() <= kMostNameBytes);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setdetachstate(&attributes, detach_state);
  if (stack == Thread::Stack::kOurs)
    ::pthread_attr_setstacksize(&attributes, kThreadStackBytes + ReservedBytes(attributes));
  auto beginning = std::make_unique<Beginning>(Beginning{std::string(name), std::move(body)});
  pthread_t handle;
  int error;
  {
    SignalsBlocked blocked;  // a new thread inherits the mask
    error = ::pthread_create(&handle, &attributes, Begin, beginning.get());
  }
  ::pthread_attr_destroy(&attributes);
  if (error != 0)
    return OutOfMemory("the machine refuses the thread {}: {}; {}", name, ErrnoText(error),
                       ThreadLimitsText());
  beginning.release();  // the thread has it
  return handle;
}

}  // namespace

Thread::Thread(Thread&& other) noexcept
    : handle_(std::exchange(other.handle_, pthread_t{})),
      started_(std::exchange(other.started_, false)) {}

Thread& Thread::operator=(Thread&& other) noexcept {
  if (this == &other) return *this;
  Join();
  handle_ = std::exchange(other.handle_, pthread_t{});
  started_ = std::exchange(other.started_, false);
  return *this;
}

Result<Thread> Thread::Start(std::string_view name, std::function<void()> body, Stack stack) {
  ASSIGN_OR_RETURN(pthread_t handle, Create(name, std::move(body), stack, PTHREAD_CREATE_JOINABLE));
  Thread thread;
  thread.handle_ = handle;
  thread.started_ = true;
  return thread;
}

Status Thread::StartDetached(std::string_view name, std::function<void()> body, Stack stack) {
  return Create(name, std::move(body), stack, PTHREAD_CREATE_DETACHED).status();
}

void Thread::Join() {
  if (!started_) return;
  CHECK(!IsCurrent());
  ::pthread_join(handle_, nullptr);
  started_ = false;
}

SignalsBlocked::SignalsBlocked() {
  sigset_t all;
  ::sigfillset(&all);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) ::sigdelset(&all, fault);
  ::pthread_sigmask(SIG_SETMASK, &all, &former_);
}

SignalsBlocked::~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &former_, nullptr); }

}  // namespace memfabric
