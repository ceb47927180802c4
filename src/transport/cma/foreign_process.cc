#include "transport/cma/foreign_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/retry.h"

namespace memfabric::transport {
namespace {

ssize_t Transfer(pid_t pid, std::span<const iovec> local, std::span<const iovec> remote,
                 bool write) {
  return RetryOnSignal([&] {
    return write ? ::process_vm_writev(pid, local.data(), local.size(), remote.data(),
                                       remote.size(), 0)
                 : ::process_vm_readv(pid, local.data(), local.size(), remote.data(), remote.size(),
                                      0);
  });
}

// Takes `bytes` off the front.
void Advance(std::span<iovec>& list, std::size_t bytes) {
  while (!list.empty() && bytes >= list.front().iov_len) {
    bytes -= list.front().iov_len;
    list = list.subspan(1);
  }
  if (bytes == 0) return;
  list.front().iov_base = static_cast<std::byte*>(list.front().iov_base) + bytes;
  list.front().iov_len -= bytes;
}

// Which setting made the kernel refuse.
std::string WhyForbidden(pid_t pid, int error_number) {
  if (error_number == ENOSYS)
    return "this kernel has no process_vm_readv (CONFIG_CROSS_MEMORY_ATTACH)";
  int scope = 0;
  std::ifstream("/proc/sys/kernel/yama/ptrace_scope") >> scope;
  if (scope == 1)
    return "kernel.yama.ptrace_scope is 1, so only a parent may: set it to 0 (sysctl "
           "kernel.yama.ptrace_scope=0), or give "
           "both processes CAP_SYS_PTRACE";
  if (scope > 1)
    return fmt::format(
        "kernel.yama.ptrace_scope is {}: set it to 0, or give both processes CAP_SYS_PTRACE",
        scope);
  return fmt::format(
      "this process may not trace pid {} ({}): another user or user namespace, or a seccomp "
      "profile without "
      "process_vm_readv (containers: --cap-add SYS_PTRACE)",
      pid, ErrnoText(error_number));
}

// Whether this process itself can read, or write, what is at `address`: the kernel tells without a
// crash.
bool MappedHere(void* address, bool writable) {
  std::byte byte{};
  iovec here{&byte, 1};
  iovec there{address, 1};
  if (Transfer(::getpid(), {&here, 1}, {&there, 1}, false) != 1) return false;
  return !writable || Transfer(::getpid(), {&here, 1}, {&there, 1}, true) == 1;
}

}  // namespace

ForeignProcess::ForeignProcess(pid_t pid) : pid_(pid) {
  if (pid > 0) handle_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

UniqueFd ForeignProcess::DuplicateHandle() const {
  return handle_ ? UniqueFd(::fcntl(handle_.get(), F_DUPFD_CLOEXEC, 0)) : UniqueFd();
}

bool ForeignProcess::Alive() const {
  pollfd one{handle_.get(), POLLIN, 0};
  return handle_ && RetryOnSignal([&] { return ::poll(&one, 1, 0); }) == 0;
}

Status ForeignProcess::Probe(std::uint64_t address, std::span<const std::byte> expected) const {
  if (pid_ <= 0)
    return Unsupported(
        "the peer lives in a pid namespace that this process can't see (containers: share it by "
        "--pid)");
  if (!handle_) return Unsupported("pidfd_open of pid {} failed: {}", pid_, ErrnoText(errno));
  std::array<std::byte, 64> found{};
  iovec here{found.data(), std::min(found.size(), expected.size())};
  iovec there{reinterpret_cast<void*>(address), here.iov_len};
  ssize_t read = Transfer(pid_, {&here, 1}, {&there, 1}, false);
  if (read < 0 && errno != EFAULT) return Unsupported("{}", WhyForbidden(pid_, errno));
  if (read != static_cast<ssize_t>(here.iov_len) ||
      std::memcmp(found.data(), expected.data(), here.iov_len) != 0)
    return Unsupported(
        "pid {} is another process here than where the peer lives (another pid namespace)", pid_);
  return Ok();
}

Status ForeignProcess::Move(std::span<iovec> local, std::span<iovec> remote, bool write) const {
  while (!local.empty()) {
    ssize_t moved = Transfer(pid_, local, remote, write);
    if (moved > 0) {
      Advance(local, static_cast<std::size_t>(moved));
      Advance(remote, static_cast<std::size_t>(moved));
      continue;
    }
    switch (moved < 0 ? errno : EFAULT) {
      case ESRCH: return Disconnected("pid {} has ended", pid_);
      case EFAULT:
        if (!MappedHere(local.front().iov_base, !write))
          return InvalidArgument(
              "local address {} is not mapped for {} in this process: the memory was freed, or "
              "never there",
              local.front().iov_base, write ? "reading" : "writing");
        return InvalidArgument(
            "the peer's address {} is registered there, but not mapped for {}: its user has freed "
            "it without unregistering it",
            remote.front().iov_base, write ? "writing" : "reading");
      case EPERM: return Unsupported("{}", WhyForbidden(pid_, EPERM));
      case ENOMEM: return OutOfMemory("the kernel has no memory for a transfer to pid {}", pid_);
      default:
        return IoError("process_vm_{} with pid {}: {}", write ? "writev" : "readv", pid_,
                       ErrnoText(errno));
    }
  }
  return Ok();
}

}  // namespace memfabric::transport
