// base/fd.h: a file descriptor that closes itself. One owner, one thread at a time.
//
// Ours are also closed in a forked child (CloseOwnedFdsAfterFork): a child that kept our sockets
// open would hide this process's death from its peers. Which numbers are ours stands in a bitmap,
// because a child of a threaded process can't take locks.

#pragma once

#include <utility>

namespace memfabric {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd);
  ~UniqueFd() { Reset(); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release();
  void Reset();

 private:
  int fd_ = -1;
};

// REQUIRES: called in a child right after fork(), before anything else of ours. Async-signal-safe.
void CloseOwnedFdsAfterFork();

}  // namespace memfabric
