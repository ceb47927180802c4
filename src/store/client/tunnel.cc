#include "store/client/tunnel.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/mutex.h"
#include "base/retry.h"
#include "base/wait.h"
#include "store/client/dial.h"
#include "store/tls/relay.h"

namespace memfabric::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLongestPoll = std::chrono::hours(24);

}  // namespace

Tunnel::Tunnel(std::shared_ptr<const TlsCredentials> credentials, const HostPort& endpoint,
               milliseconds connect_timeout)
    : credentials_(std::move(credentials)),
      endpoint_(endpoint),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  int ends[2] = {-1, -1};
  if (!wake_ || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    failure_ = IoError("no sockets for TLS: {}", ErrnoText(errno));
    return;
  }
  UniqueFd plain(ends[0]);
  failure_ = Disconnected("no answer to the attempt to connect");
  auto thread = Thread::Start("mf-tunnel", [this, connect_timeout, inner = ends[1]] {
    Run(connect_timeout, UniqueFd(inner));
  });
  if (!thread.ok()) {
    UniqueFd unused(ends[1]);
    failure_ = thread.status();
    return;
  }
  thread_ = std::move(*thread);
  plain_ = std::move(plain);
}

Tunnel::~Tunnel() {
  stopping_ = true;
  if (!thread_.started()) return;
  (void)RetryOnSignal([&] { return eventfd_write(wake_.get(), 1); });
  thread_.Join();
}

Status Tunnel::failure() const {
  MutexLock lock(mutex_);
  return failure_;
}

void Tunnel::Note(Status failure) {
  MutexLock lock(mutex_);
  failure_ = std::move(failure);
}

void Tunnel::Run(milliseconds connect_timeout, UniqueFd inner) {
  TlsRelay::PrepareThread();
  CancelScope scope(stopping_);
  Deadline connected_by = steady_clock::now() + connect_timeout;
  auto network = Dial(endpoint_, connected_by);
  if (!network.ok()) return Note(network.status());  // before `inner` closes, which tells gRPC
  Note(Disconnected("it accepts connections, but doesn't answer with TLS"));
  TlsRelay relay(credentials_, TlsRelay::Role::kClient, std::move(*network), std::move(inner),
                 endpoint_.host);
  Note(Serve(relay, connected_by));  // before the relay goes, which closes `inner`
}

// Why it ended.
Status Tunnel::Serve(TlsRelay& relay, Deadline connected_by) {
  for (;;) {
    auto before = relay.state();
    auto state = relay.Advance();
    if (state == TlsRelay::State::kOpen && before != state) Note(Ok());
    if (state != TlsRelay::State::kHandshake && state != TlsRelay::State::kOpen)
      return relay.failure();
    credentials_->WarnIfDue();
    Deadline until = state == TlsRelay::State::kOpen ? credentials_->NextCheck() : connected_by;
    auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    if (left.count() <= 0 && state == TlsRelay::State::kHandshake) return failure();
    // One that nothing is wanted of is left out: poll would tell again and again that its other end
    // is closed.
    auto entry = [](int fd, short events) { return pollfd{events == 0 ? -1 : fd, events, 0}; };
    std::array<pollfd, 3> ready{entry(wake_.get(), POLLIN),
                                entry(relay.network(), relay.network_events()),
                                entry(relay.plain(), relay.plain_events())};
    poll(ready.data(), ready.size(),
         static_cast<int>(std::clamp(left, milliseconds(0), kLongestPoll).count()));
    if (stopping_) return Ok();
  }
}

}  // namespace memfabric::store
