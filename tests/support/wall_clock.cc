// For LD_PRELOAD: a process's wall clock (CLOCK_REALTIME, however it is asked for) is off by as
// many seconds as the file says that MEMFABRIC_TEST_WALL_CLOCK names (8 bytes, native order); who
// writes there makes it jump. Other clocks are the kernel's.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace {

const std::atomic<std::int64_t>* Offset() {
  static const auto* offset = []() -> const std::atomic<std::int64_t>* {
    const char* name = std::getenv("MEMFABRIC_TEST_WALL_CLOCK");
    int fd = name == nullptr ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) std::abort();  // a test that would test nothing
    void* page = mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) std::abort();
    return static_cast<const std::atomic<std::int64_t>*>(page);
  }();
  return offset;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int clock_gettime(clockid_t clock,
                                                                    timespec* time) noexcept {
  long result = syscall(SYS_clock_gettime, clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    time->tv_sec += Offset()->load();
  return static_cast<int>(result);
}

extern "C" __attribute__((visibility("default"))) int gettimeofday(timeval* time, void*) noexcept {
  timespec now{};
  int result = clock_gettime(CLOCK_REALTIME, &now);
  *time = {now.tv_sec, now.tv_nsec / 1000};
  return result;
}

extern "C" __attribute__((visibility("default"))) time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}
