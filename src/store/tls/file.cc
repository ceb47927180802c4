#include "store/tls/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "base/retry.h"
#include "base/units.h"

namespace memfabric::store {
namespace {

constexpr off_t kMaxFileBytes = 16_MiB;  // lists of revoked certificates grow
// More than a string has room for in itself: it may be a password, and moving such a string would
// leave copies on the stack.
constexpr std::size_t kNeverInside = 64;

}  // namespace

Result<std::string> ReadNamedFile(const std::string& name) {
  UniqueFd fd(
      // a FIFO must not hold us up
      RetryOnSignal([&] { return open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
  if (!fd) return InvalidArgument("'{}' can't be opened: {}", name, ErrnoText(errno));
  struct stat about {};
  if (fstat(fd.get(), &about) != 0)
    return InvalidArgument("'{}' can't be read: {}", name, ErrnoText(errno));
  if (!S_ISREG(about.st_mode)) return InvalidArgument("'{}' is not a regular file", name);
  if (about.st_size > kMaxFileBytes)
    return InvalidArgument("'{}' has {}; at most {} are allowed", name, SizeText(about.st_size),
                           SizeText(kMaxFileBytes));
  std::string text;
  text.reserve(kNeverInside + static_cast<std::size_t>(about.st_size));
  text.resize(static_cast<std::size_t>(about.st_size));
  std::size_t done = 0;
  while (done < text.size()) {
    ssize_t got =
        RetryOnSignal([&] { return read(fd.get(), text.data() + done, text.size() - done); });
    if (got < 0) return InvalidArgument("'{}' can't be read: {}", name, ErrnoText(errno));
    if (got == 0) break;  // it has shrunk
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace memfabric::store
