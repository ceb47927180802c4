// transport/cma/foreign_process.h: another process of this host, whose memory is read and written
// by process_vm_readv/writev.
//
// A pid may be used again, so the process is held by a pidfd, which is looked at before each series
// of calls. Owner: a link. Threads: any.

#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/fd.h"
#include "base/status.h"

namespace memfabric::transport {

class ForeignProcess {
 public:
  // REQUIRES: the pid is that of a process whose connection stands now.
  explicit ForeignProcess(pid_t pid);

  // Whether its memory can be read, and `expected` is what stands at `address`. Unsupported says
  // which setting forbids it.
  Status Probe(std::uint64_t address, std::span<const std::byte> expected) const;

  // Moves all of `local` to (write) or from the equally long `remote`; changes both lists. At most
  // IOV_MAX (1024) pieces each. InvalidArgument names the address that is not mapped, here or
  // there. Disconnected: the process has ended. REQUIRES: Alive() was true a moment ago.
  Status Move(std::span<iovec> local, std::span<iovec> remote, bool write) const;
  bool Alive() const;

  pid_t pid() const { return pid_; }
  UniqueFd DuplicateHandle() const;  // a pidfd; none when there is none to be had

 private:
  const pid_t pid_;
  UniqueFd handle_;
};

}  // namespace memfabric::transport
