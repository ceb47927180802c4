#include "transport/shared_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/units.h"

namespace memfabric::transport {

Result<FileIdentity> CheckSharedFile(int fd, std::uint64_t size_bytes, bool user_file) {
  struct stat info {};
  if (::fstat(fd, &info) != 0)
    return InvalidArgument("its file can't be examined: {}", ErrnoText(errno));
  if (!S_ISREG(info.st_mode))
    return InvalidArgument("its file is no memory file (mode {:o})", info.st_mode);
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) != O_RDWR)
    return InvalidArgument("its file is not open for reading and writing");
  if (static_cast<std::uint64_t>(info.st_size) < size_bytes) {
    return InvalidArgument("its file has {}, less than the {} it contributes",
                           SizeText(static_cast<std::uint64_t>(info.st_size)),
                           SizeText(size_bytes));
  }
  int seals = ::fcntl(fd, F_GET_SEALS);
  if (!user_file && (seals < 0 || (seals & F_SEAL_SHRINK) == 0))
    return InvalidArgument("its file is not sealed against shrinking");
  return FileIdentity{info.st_dev, info.st_ino};
}

}  // namespace memfabric::transport
