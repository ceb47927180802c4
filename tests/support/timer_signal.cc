// For LD_PRELOAD: every thread of the process gets a signal a thousand times a second (or as often
// as TIMER_SIGNAL_HZ says), as profilers send SIGPROF. It is SIGURG: one that is on its way when a
// program is replaced by another (exec) does nothing to the new one, where SIGPROF would end it.
// The handler does nothing and is installed without SA_RESTART, so that whatever system call a
// thread is in ends with EINTR. Threads that block the signal are left in peace; children of fork()
// get timers of their own.
//
// Only in our programs, which are those below the build folder and Python: others (etcd, shells,
// ctest) go without, and pass it on.
//
// The whole suite under it: HARSH=timer scripts/harsh

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>

namespace {

constexpr long kNanoseconds = 1'000'000'000;

void DoNothing(int) {}

long PeriodNs() {
  const char* text = std::getenv("TIMER_SIGNAL_HZ");
  const long hertz = text == nullptr ? 1000 : std::atol(text);
  if (hertz < 1) std::abort();  // a test that would test nothing
  return kNanoseconds / hertz;
}

// Of the calling thread. By system calls: the C library's timers belong to no thread.
class ThreadTimer {
 public:
  ThreadTimer() {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGURG;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    // one more than the limits allow
    if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id_) != 0) return;
    armed_ = true;
    const long period = PeriodNs();
    itimerspec every{};
    every.it_interval = every.it_value = {period / kNanoseconds, period % kNanoseconds};
    (void)syscall(SYS_timer_settime, id_, 0, &every, nullptr);
  }
  ~ThreadTimer() {
    if (armed_) (void)syscall(SYS_timer_delete, id_);
  }

 private:
  int id_ = 0;
  bool armed_ = false;
};

void StartInThisProcess() {
  struct sigaction action {};
  action.sa_handler = DoNothing;
  (void)sigaction(SIGURG, &action, nullptr);
  static_cast<void>(new ThreadTimer);  // for as long as the process lives
}

struct Begin {
  void* (*routine)(void*);
  void* argument;
};

void* RunWithTimer(void* raw) {
  const std::unique_ptr<Begin> begin(static_cast<Begin*>(raw));
  thread_local ThreadTimer timer;  // until the thread has ended, however it does
  (void)timer;
  return begin->routine(begin->argument);
}

// By where this library lies: build/PRESET/tests/support.
bool IsOurProgram() {
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&DoNothing), &self) == 0) std::abort();
  std::error_code none;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", none);
  if (program.filename().native().starts_with("python")) return true;
  const auto build =
      std::filesystem::weakly_canonical(self.dli_fname).parent_path().parent_path().parent_path();
  return program.native().starts_with(build.native() + "/");
}

__attribute__((constructor)) void OnLoad() {
  if (!IsOurProgram()) return;
  StartInThisProcess();
  (void)pthread_atfork(nullptr, nullptr, StartInThisProcess);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int pthread_create(
    pthread_t* thread, const pthread_attr_t* attributes, void* (*routine)(void*),
    void* argument) noexcept {
  static const bool with_timer = IsOurProgram();
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (!with_timer) return create(thread, attributes, routine, argument);
  auto begin = std::make_unique<Begin>(Begin{routine, argument});
  const int error = create(thread, attributes, RunWithTimer, begin.get());
  if (error == 0) (void)begin.release();
  return error;
}
