#include "store/client/dial.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "base/addresses.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "base/wait.h"

namespace memfabric::store {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { freeaddrinfo(addresses); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

// An error of getaddrinfo, or 0 and what it has found.
std::pair<int, Addresses> LookUp(const HostPort& endpoint, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | flags;
  addrinfo* found = nullptr;
  int error =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  return {error, Addresses(found)};
}

// The lookup of a name can't be ended: a thread of its own does it, and is left to itself when
// nobody waits any more.
struct Lookup {
  Mutex mutex;
  CondVar changed;
  bool done GUARDED_BY(mutex) = false;
  std::pair<int, Addresses> result GUARDED_BY(mutex);
};

Result<Addresses> Resolve(const HostPort& endpoint, Deadline deadline) {
  if (auto [error, found] = LookUp(endpoint, AI_NUMERICHOST); error == 0) return std::move(found);
  auto lookup = std::make_shared<Lookup>();  // shared with the thread
  auto look_up = [lookup, endpoint] {
    auto result = LookUp(endpoint, 0);
    MutexLock lock(lookup->mutex);
    lookup->result = std::move(result);
    lookup->done = true;
    lookup->changed.NotifyAll();
  };
  RETURN_IF_ERROR(Thread::StartDetached("mf-lookup", look_up, Thread::Stack::kTheUsers)
                      .WithContext("the host name can't be looked up"));
  MutexLock lock(lookup->mutex);
  Status waited = WaitUntil(lookup->mutex, lookup->changed, deadline,
                            [&]() REQUIRES(lookup->mutex) { return lookup->done; });
  if (IsInterrupted(waited)) return waited;
  if (!waited.ok())
    return Disconnected("the host name doesn't resolve: no answer from the name service");
  auto& [error, found] = lookup->result;
  if (error != 0) return Disconnected("the host name doesn't resolve: {}", gai_strerror(error));
  return std::move(found);
}

Status Refused(int error, const addrinfo& address) {
  SocketAddress target;
  std::memcpy(&target.storage, address.ai_addr, address.ai_addrlen);
  target.size_bytes = address.ai_addrlen;
  if (LacksPort(error, target)) return InUse("{}", NoPortText());
  return error == ECONNREFUSED ? Disconnected("connection refused")
                               : Disconnected("{}", ErrnoText(error));
}

Result<UniqueFd> DialAddress(const addrinfo& address, Deadline deadline) {
  UniqueFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Refused(errno, address);
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) return fd;
  // Interrupted, it goes on by itself, as when it is in progress.
  if (errno != EINPROGRESS && errno != EINTR) return Refused(errno, address);
  ASSIGN_OR_RETURN(bool connected, AwaitEvents(fd.get(), POLLOUT, deadline));
  if (!connected) return Disconnected("no answer to the attempt to connect");
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return Refused(error, address);
  return fd;
}

}  // namespace

Result<bool> AwaitEvents(int fd, short events, Deadline deadline) {
  for (;;) {
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd entry{fd, events, 0};
    int ready = poll(&entry, 1, static_cast<int>(std::min(left, kInterruptPeriod).count()));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return IoError("poll: {}", ErrnoText(errno));
    if (InterruptRequested()) return Interrupted("interrupted by a signal");
  }
}

Result<UniqueFd> Dial(const HostPort& endpoint, Deadline deadline) {
  ASSIGN_OR_RETURN(const Addresses addresses, Resolve(endpoint, deadline));
  Status last = Disconnected("the host name has no address");
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    auto connected = DialAddress(*address, deadline);
    if (connected.ok() || IsInterrupted(connected.status())) return connected;
    last = connected.status();
  }
  return last;
}

}  // namespace memfabric::store
