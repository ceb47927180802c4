#include "memory/backing.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "base/log.h"
#include "base/retry.h"
#include "base/units.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

namespace memfabric {
namespace {

constexpr const char* kMemfdName = "memfabric";  // shown in /proc/*/maps as /memfd:memfabric

Status ExplainOpenFailure(std::string_view call, int error_number) {
  rlimit limit{};
  if (error_number == EMFILE && ::getrlimit(RLIMIT_NOFILE, &limit) == 0)
    return OutOfMemory("{}: {}: RLIMIT_NOFILE is {}: raise it (ulimit -n)", call,
                       ErrnoText(error_number), limit.rlim_cur);
  if (error_number == EMFILE || error_number == ENFILE || error_number == ENOMEM)
    return OutOfMemory("{}: {}", call, ErrnoText(error_number));
  return IoError("{}: {}", call, ErrnoText(error_number));
}

// Growing a file beyond RLIMIT_FSIZE would end the process with SIGXFSZ.
Status CheckFileSizeLimit(std::uint64_t size_bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      size_bytes > limit.rlim_cur)
    return OutOfMemory("a segment of {} is above RLIMIT_FSIZE, {}: raise it (ulimit -f unlimited)",
                       SizeText(size_bytes), SizeText(limit.rlim_cur));
  return Ok();
}

Result<UniqueFd> MakeMemfd(std::uint64_t size_bytes, unsigned extra_flags) {
  UniqueFd fd(::memfd_create(kMemfdName, MFD_CLOEXEC | MFD_ALLOW_SEALING | extra_flags));
  if (!fd) return ExplainOpenFailure("memfd_create", errno);
  if (RetryOnSignal([&] { return ::ftruncate(fd.get(), static_cast<off_t>(size_bytes)); }) != 0)
    return OutOfMemory("a memfd of {}: {}", SizeText(size_bytes), ErrnoText(errno));
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return IoError("sealing a memfd: {}", ErrnoText(errno));
  return fd;
}

std::uint64_t FreeHugePages() {
  constexpr const char* kFolder = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
  std::uint64_t free_pages = 0, promised = 0;
  std::ifstream(std::string(kFolder) + "free_hugepages") >> free_pages;
  std::ifstream(std::string(kFolder) + "resv_hugepages") >> promised;
  return free_pages > promised ? free_pages - promised : 0;
}

// Any failure means: without huge pages.
UniqueFd MakeHugeMemfd(std::uint64_t size_bytes) {
  if (FreeHugePages() < size_bytes / kHugePageBytes) return {};
  auto fd = MakeMemfd(size_bytes, MFD_HUGETLB | MFD_HUGE_2MB);
  if (!fd.ok()) return {};
  // A shared mapping promises the pages to the file, for as long as it lives: nobody gets SIGBUS
  // for want of them later.
  void* address = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd->get(), 0);
  if (address == MAP_FAILED) return {};
  ::munmap(address, size_bytes);
  return std::move(*fd);
}

}  // namespace

Result<Backing> MakeBacking(std::uint64_t size_bytes, bool may_take_huge_pages) {
  RETURN_IF_ERROR(CheckFileSizeLimit(size_bytes));
  if (may_take_huge_pages) {
    if (UniqueFd fd = MakeHugeMemfd(size_bytes)) return Backing{std::move(fd), true};
  }
  ASSIGN_OR_RETURN(UniqueFd fd, MakeMemfd(size_bytes, 0));
  return Backing{std::move(fd), false};
}

Result<std::uint64_t> UnbackedBytes(int fd) {
  constexpr std::uint64_t kBlockBytes = 512;  // of st_blocks, whatever the file system, see stat(2)
  struct stat status {};
  if (::fstat(fd, &status) != 0) return IoError("fstat of fd {}: {}", fd, ErrnoText(errno));
  auto size = static_cast<std::uint64_t>(status.st_size),
       backed = static_cast<std::uint64_t>(status.st_blocks) * kBlockBytes;
  return size > backed ? size - backed : 0;
}

bool TakesMemoryLate(int fd) {
  struct statfs system {};
  return ::fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

bool HasHole(int fd, std::uint64_t offset, std::uint64_t size_bytes) {
  off_t hole = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
  return hole < 0 || static_cast<std::uint64_t>(hole) < offset + size_bytes;
}

Status TakeMemory(int fd, std::uint64_t offset, std::uint64_t size_bytes) {
  while (::fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(size_bytes)) != 0) {
    if (errno == EINTR) continue;
    if (errno == ENOSPC || errno == ENOMEM)
      return OutOfMemory("{} of memory: {}", SizeText(size_bytes), ErrnoText(errno));
    return IoError("fallocate of {}: {}", SizeText(size_bytes), ErrnoText(errno));
  }
  return Ok();
}

Status CheckFileSize(int fd, std::uint64_t size_bytes) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return IoError("fstat of fd {}: {}", fd, ErrnoText(errno));
  if (static_cast<std::uint64_t>(status.st_size) < size_bytes)
    return InvalidArgument("the file of fd {} has {} bytes, fewer than the {} asked for", fd,
                           status.st_size, size_bytes);
  return Ok();
}

Result<Backing> AdoptBacking(int user_fd, std::uint64_t size_bytes) {
  struct stat status {};
  if (::fstat(user_fd, &status) != 0) {
    if (errno == EBADF) return InvalidArgument("fd {} is not open", user_fd);
    return IoError("fstat of fd {}: {}", user_fd, ErrnoText(errno));
  }
  if (!S_ISREG(status.st_mode))
    return InvalidArgument("fd {} is no memfd, shared memory object or regular file", user_fd);
  int flags = ::fcntl(user_fd, F_GETFL);
  if (flags < 0) return IoError("fcntl(F_GETFL) of fd {}: {}", user_fd, ErrnoText(errno));
  if ((flags & O_ACCMODE) != O_RDWR || (flags & O_PATH) != 0)
    return InvalidArgument("fd {} is not open for reading and writing", user_fd);
  RETURN_IF_ERROR(CheckFileSize(user_fd, size_bytes));
  struct statfs system {};
  bool huge_pages = ::fstatfs(user_fd, &system) == 0 && system.f_type == HUGETLBFS_MAGIC;
  if (huge_pages && static_cast<std::uint64_t>(system.f_bsize) > kHugePageBytes)
    return InvalidArgument("fd {} has pages of {}: at most {} work", user_fd,
                           SizeText(static_cast<std::uint64_t>(system.f_bsize)),
                           SizeText(kHugePageBytes));
  // -1 for files that know no seals.
  int seals = ::fcntl(user_fd, F_GET_SEALS);
  if (seals >= 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0)
    return InvalidArgument("fd {} is sealed against writing", user_fd);

  UniqueFd fd(::fcntl(user_fd, F_DUPFD_CLOEXEC, 0));
  if (!fd) return ExplainOpenFailure(fmt::format("duplicating fd {}", user_fd), errno);
  bool sealed = (seals >= 0 && (seals & F_SEAL_SHRINK) != 0) ||
                ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0;
  if (!sealed)
    LOG(kWarn,
        "fd {} can't be sealed against shrinking ({}): if it is truncated, processes that use it "
        "get SIGBUS; "
        "memfd_create with MFD_ALLOW_SEALING makes one that can",
        user_fd, ErrnoText(errno));
  return Backing{std::move(fd), huge_pages};
}

}  // namespace memfabric
