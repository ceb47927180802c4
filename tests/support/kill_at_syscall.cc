// kill_at_syscall N PROGRAM ARGUMENT…: runs the program and kills it, all threads at once, just
// before its N-th system call, as the machine would that loses it right then. The calls of all
// threads count, from when one of them has called prctl(kMarker) until one calls prctl(kMarker +
// 1); with N 0 nothing is killed.
//
// Writes to stderr, as the last line, how many calls there were: "calls: 57". Exits as the program
// did, 137 when it was killed.

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr long kMarker = 0x4d46'4b30;

struct Call {
  long number = -1;
  long first_argument = 0;
  bool entering = false;
};

Call CallOf(pid_t thread) {
  __ptrace_syscall_info info{};
  if (ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), thread, sizeof info, &info) <=
      0)
    return {};
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return {};
  return {static_cast<long>(info.entry.nr), static_cast<long>(info.entry.args[0]), true};
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return fprintf(stderr, "kill_at_syscall N PROGRAM ARGUMENT...\n"), 2;
  const long victim_call = atol(arguments[1]);
  const pid_t program = fork();
  if (program == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execvp(arguments[2], arguments + 2);
    perror(arguments[2]);
    _exit(127);
  }
  int status = 0;
  if (TEMP_FAILURE_RETRY(waitpid(program, &status, 0)) != program || !WIFSTOPPED(status)) return 1;
  ptrace(PTRACE_SETOPTIONS, program, nullptr,
         PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
  ptrace(PTRACE_SYSCALL, program, nullptr, nullptr);
  bool counting = false;
  long calls = 0;
  int result = 1;
  for (;;) {
    const pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0) {
      if (errno == EINTR) continue;
      break;
    }
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread == program)
        result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      continue;
    }
    int signal = WSTOPSIG(status);
    if (signal == (SIGTRAP | 0x80)) {
      signal = 0;
      const Call call = CallOf(thread);
      if (call.entering && call.number == SYS_prctl &&
          (call.first_argument & ~1L) == (kMarker & ~1L)) {
        counting = call.first_argument == kMarker;
      } else if (call.entering && counting && ++calls == victim_call) {
        kill(program, SIGKILL);
        continue;
      }
    } else if (status >> 16 != 0 || signal == SIGSTOP || signal == SIGTRAP) {
      signal = 0;  // a thread was started, or has just been
    }
    ptrace(PTRACE_SYSCALL, thread, nullptr, signal);
  }
  fprintf(stderr, "calls: %ld\n", calls);
  return result;
}
