#include "base/fd.h"

#include <unistd.h>

namespace memfabric {

void UniqueFd::Reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace memfabric
