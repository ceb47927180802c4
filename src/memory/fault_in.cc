#include "memory/fault_in.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/retry.h"
#include "base/thread.h"
#include "base/units.h"
#include "base/wait.h"

namespace memfabric {
namespace {

// Large enough that taking one costs nothing (one is 5 to 15 ms of page faults), small enough that
// all threads end together.
constexpr std::size_t kChunkBytes = 8_MiB;

unsigned Processors() {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
    return static_cast<unsigned>(std::max(CPU_COUNT(&allowed), 1));
  return std::max(std::thread::hardware_concurrency(), 1u);
}

// Writes to each page what it holds: an atomic that changes nothing, so that an owner's and a
// peer's bytes survive.
void Touch(std::byte* begin, std::size_t size_bytes) {
  auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  for (std::size_t offset = 0; offset < size_bytes; offset += page_bytes)
    __atomic_fetch_or(reinterpret_cast<unsigned char*>(begin + offset), 0, __ATOMIC_RELAXED);
}

// 0 or an errno.
int Populate(std::byte* begin, std::size_t size_bytes) {
  for (;;) {
    if (RetryOnSignal([&] { return ::madvise(begin, size_bytes, MADV_POPULATE_WRITE); }) == 0)
      return 0;
    if (errno == EAGAIN) continue;
    if (errno != EINVAL) return errno;
    Touch(begin, size_bytes);  // kernels before 5.14
    return 0;
  }
}

// What the threads of one call share. `next` hands out chunks; relaxed, as the pages' contents
// order nothing between threads.
struct Work {
  std::byte* begin;
  std::size_t size_bytes;
  std::atomic<std::size_t> next{0};
  std::atomic<int> error_number{0};
  std::atomic<bool> stop{false};

  // False when there is no more to do.
  bool DoOneChunk() {
    if (stop.load(std::memory_order_relaxed)) return false;
    std::size_t offset = next.fetch_add(kChunkBytes, std::memory_order_relaxed);
    if (offset >= size_bytes) return false;
    if (int error = Populate(begin + offset, std::min(kChunkBytes, size_bytes - offset));
        error != 0) {
      error_number.store(error, std::memory_order_relaxed);
      stop.store(true, std::memory_order_relaxed);
    }
    return true;
  }
};

}  // namespace

Status FaultIn(std::byte* begin, std::size_t size_bytes) {
  Work work{begin, size_bytes};
  std::size_t chunks = (size_bytes + kChunkBytes - 1) / kChunkBytes;
  std::vector<Thread> threads;
  for (std::size_t i = 1; i < std::min<std::size_t>(Processors(), chunks); ++i) {
    auto thread = Thread::Start("mf-fault-in", [&work] {
      while (work.DoOneChunk()) {
      }
    });
    if (!thread.ok()) {  // fewer do it, too
      LOG(kDebug, "backing memory with {} threads more: {}", threads.size(),
          thread.status().message());
      break;
    }
    threads.push_back(std::move(*thread));
  }
  bool interrupted = false;
  auto next_check = std::chrono::steady_clock::now() + kInterruptPeriod;
  while (work.DoOneChunk()) {
    if (auto now = std::chrono::steady_clock::now(); now >= next_check) {
      next_check = now + kInterruptPeriod;
      interrupted = InterruptRequested();
      if (interrupted) work.stop.store(true, std::memory_order_relaxed);
    }
  }
  for (Thread& thread : threads) thread.Join();
  int error_number = work.error_number.load(std::memory_order_relaxed);
  if (error_number == ENOMEM || error_number == EFAULT)
    return OutOfMemory("backing {} of memory: {}", SizeText(size_bytes), ErrnoText(error_number));
  if (error_number != 0)
    return IoError("backing {} of memory: {}", SizeText(size_bytes), ErrnoText(error_number));
  if (interrupted)
    return Interrupted("interrupted by a signal while backing {} of memory", SizeText(size_bytes));
  return Ok();
}

}  // namespace memfabric
