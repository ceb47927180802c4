// transport/shared_file.h: a file of a peer's zone as it came over the socket, checked before a
// byte of it is mapped. A value that owns the fd; the thread that received it.

#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/fd.h"
#include "base/status.h"

namespace memfabric::transport {

// Which file it is, so that growth is taken from the same one.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

// InvalidArgument: it is no regular file that is open for reading and writing, has fewer than
// `size_bytes`, or could be shrunk and `user_file` doesn't admit it.
Result<FileIdentity> CheckSharedFile(int fd, std::uint64_t size_bytes, bool user_file);

}  // namespace memfabric::transport
