#include "transport/tcp/connection.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/wait.h"

namespace memfabric::transport::tcp {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr unsigned kPollsPerYield = 4;
// of a turn, then others get theirs: 1 MiB and its frame
constexpr std::size_t kReadBudget = (1 << 20) + (64 << 10);

}  // namespace

TcpConnection::TcpConnection(Reactor& reactor, const Tokens& tokens,
                             std::unique_ptr<BounceBuffer> bounce,
                             std::unique_ptr<ByteStream> stream, std::string who,
                             std::chrono::microseconds spin)
    : reactor_(reactor),
      bounce_(std::move(bounce)),
      stream_(std::move(stream)),
      who_(std::move(who)),
      spin_(spin),
      outbound_(tokens, *bounce_, *stream_),
      inbound_(tokens, *bounce_, *stream_, outbound_, [this] { WakePort(); }) {}

TcpConnection::~TcpConnection() = default;

Status TcpConnection::Watch(std::function<void(bool hung_up)> on_ready) {
  if (on_ready_ == nullptr) {
    watched_ = stream_->connector() ? EPOLLOUT : EPOLLIN;
    RETURN_IF_ERROR(
        reactor_.Add(stream_->fd(), watched_, [self = weak_from_this()](std::uint32_t events) {
          if (auto connection = self.lock(); connection != nullptr) connection->OnEvents(events);
        }));
  }
  on_ready_ = std::make_shared<std::function<void(bool)>>(std::move(on_ready));
  return Ok();
}

void TcpConnection::OnEvents(std::uint32_t events) {
  auto on_ready = on_ready_;
  if (on_ready == nullptr) return;
  if (handshake_pending_) {
    AdvanceHandshake();
    if (!handshake_pending_) (*on_ready)(false);
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    std::unique_lock lock(outbound_.mutex());
    SendUntilBlocked(lock);
  }
  if ((events & ~std::uint32_t{EPOLLOUT}) != 0) (*on_ready)(false);
}

void TcpConnection::AdvanceHandshake() {
  auto need = stream_->Handshake();
  if (!need.ok() || *need == ByteStream::Need::kAnotherTry) {
    handshake_pending_ = false;
    std::lock_guard lock(inbound_.mutex());
    return inbound_.Stop(need.status());
  }
  std::unique_lock lock(outbound_.mutex());
  if (*need != ByteStream::Need::kNothing) {
    const std::uint32_t events = *need == ByteStream::Need::kReadable ? EPOLLIN : EPOLLOUT;
    if (events != watched_) reactor_.Modify(stream_->fd(), events);
    watched_ = events;
    return;
  }
  handshake_pending_ = false;
  open_ = true;
  outbound_.Open();
  SendUntilBlocked(lock);
}

Packet TcpConnection::Receive(std::span<std::byte> buffer) {
  if (handshake_pending_) AdvanceHandshake();
  if (handshake_pending_) return {};
  std::lock_guard lock(inbound_.mutex());
  if (!inbound_.has_messages() && !driven_) {
    const std::int64_t heard = inbound_.heard_ns();
    const Inbound::Pumped pumped = inbound_.Pump(kReadBudget);
    if (pumped != Inbound::Pumped::kEnded && inbound_.heard_ns() != heard) {
      if (!inbound_.is_bulk()) reactor_.StayAwake(spin_, stream_->fd());
      if (pumped == Inbound::Pumped::kBudget && stream_->HasReadAhead()) WakePort();
      std::unique_lock send_lock(outbound_.mutex());
      SendUntilBlocked(send_lock);
    }
  }
  return inbound_.TakeMessage(buffer);
}

// Has the port look for a message, or for the end.
void TcpConnection::WakePort() {
  reactor_.Post([self = weak_from_this()] {
    auto connection = self.lock();
    auto on_ready = connection == nullptr ? nullptr : connection->on_ready_;
    if (on_ready != nullptr) (*on_ready)(false);
  });
}

void TcpConnection::Send(std::vector<std::byte> bytes, std::vector<int> files,
                         std::shared_ptr<const void>) {
  CHECK(files.empty());
  std::unique_lock lock(outbound_.mutex());
  if (closed_ || bytes.size() > kMaxControlBytes) return;
  outbound_.QueueMessage(std::move(bytes));
  SendUntilBlocked(lock);
}

void TcpConnection::Post(std::vector<std::byte> bytes) {
  reactor_.Post([self = weak_from_this(), bytes = std::move(bytes)]() mutable {
    if (auto connection = self.lock(); connection != nullptr) connection->Send(std::move(bytes));
  });
}

std::size_t TcpConnection::waiting_packets() const {
  std::lock_guard lock(outbound_.mutex());
  return outbound_.waiting_messages();
}

void TcpConnection::Attach(Rank rank, std::shared_ptr<const ServedMemory> memory) {
  std::lock_guard receive_lock(inbound_.mutex());
  std::lock_guard lock(outbound_.mutex());
  memory_ = std::move(memory);
  inbound_.Attach(*memory_);
  outbound_.Attach(*memory_, rank, who_);
}

void TcpConnection::Close() {
  on_ready_ = nullptr;
  std::lock_guard receive_lock(inbound_.mutex());
  std::lock_guard lock(outbound_.mutex());
  if (std::exchange(closed_, true)) return;
  reactor_.Remove(stream_->fd());
  inbound_.Stop(Ok());
  outbound_.Stop();
  // Who drives sleeps on the socket, and closes it.
  driven_ ? stream_->Shutdown() : stream_->Close();
}

void TcpConnection::UpdateWatch() {
  if (closed_ || !open_) return;
  const std::uint32_t wanted =
      (driven_ ? 0u : EPOLLIN) | (outbound_.blocked() && !driver_sends_ ? EPOLLOUT : 0u);
  if (wanted == watched_) return;
  reactor_.Modify(stream_->fd(), wanted);
  watched_ = wanted;
}

void TcpConnection::SetDown(const Status& why) {
  std::lock_guard receive_lock(inbound_.mutex());
  std::lock_guard lock(outbound_.mutex());
  if (outbound_.SetDown(why)) inbound_.DropPayload();
}

void TcpConnection::SendUntilBlocked(std::unique_lock<std::mutex>& lock) {
  if (!open_) return;
  while (outbound_.Pump() == Outbound::Sent::kMore && !reactor_.OnThread()) {
    lock.unlock();  // whoever reads may have something to say
    lock.lock();
  }
  UpdateWatch();
}

Status TcpConnection::Enqueue(QueuedRequest queued) {
  std::unique_lock lock(outbound_.mutex());
  RETURN_IF_ERROR(outbound_.Enqueue(std::move(queued)));
  SendUntilBlocked(lock);
  return Ok();
}

Status TcpConnection::Start(Op op, Zone zone, std::span<const Piece> pieces) {
  ASSIGN_OR_RETURN(QueuedRequest queued, QueuedRequest::Move(op, zone, pieces));
  return queued.request.size_bytes == 0 ? Ok() : Enqueue(std::move(queued));
}

Status TcpConnection::Signal(Zone zone, std::uint64_t slot_offset,
                             std::span<const std::byte> bytes) {
  return Enqueue(QueuedRequest::Signal(zone, slot_offset, bytes));
}

Result<std::uint64_t> TcpConnection::Atomic(Zone zone, const AtomicRequest& request,
                                            Deadline deadline) {
  auto cell = std::make_shared<Cell>();
  RETURN_IF_ERROR(Enqueue(QueuedRequest::Atomic(zone, request, cell)));
  RETURN_IF_ERROR(Await(deadline, [&] { return cell->is_known; }));
  RETURN_IF_ERROR(cell->status);
  return cell->value;
}

Status TcpConnection::Flush(Bound bound) {
  // other threads' too: more than asked, never less
  const std::uint64_t until = outbound_.last_sequence();
  Status waited = Await(bound, [&] { return outbound_.IsDone(until); });
  if (IsDeadlineExceeded(waited) || IsInterrupted(waited)) GiveUp();
  RETURN_IF_ERROR(waited);
  return outbound_.TakeError();
}

void TcpConnection::GiveUp() {
  std::lock_guard receive_lock(inbound_.mutex());
  std::lock_guard lock(outbound_.mutex());
  if (outbound_.GiveUp()) inbound_.DropData();
  (void)outbound_.Pump();
  UpdateWatch();
}

// What rises as long as requests go on: bytes that came, and that the other host has taken; our own
// questions aside.
std::int64_t TcpConnection::Progress() const {
  return static_cast<std::int64_t>(inbound_.received() + stream_->TakenBytes() -
                                   outbound_.asked_bytes());
}

Status TcpConnection::Await(Bound bound, const std::function<bool()>& done,
                            const std::function<Status()>& begin) {
  bound.end = std::min(bound.end, CallDeadline());
  ProgressWatch watch(bound, steady_clock::now());
  std::unique_lock lock(outbound_.mutex());
  bool begun = !begin;
  while (!begun || (outbound_.down().ok() && !done())) {
    if (!begun && (driven_ || !outbound_.down().ok())) {
      begun = true;
      lock.unlock();
      RETURN_IF_ERROR(begin());
      lock.lock();
      continue;
    }
    if (driven_) {
      Status waited = outbound_.Wait(lock, watch.deadline(), [&] { return done() || !driven_; });
      if (IsDeadlineExceeded(waited) && !watch.IsOver(steady_clock::now(), Progress())) continue;
      if (!waited.ok()) return waited.WithContext(outbound_.peer_name() + " has not answered");
      continue;
    }
    driven_ = driver_sends_ = true;
    UpdateWatch();
    lock.unlock();
    Status began = begun ? Ok() : begin();
    begun = true;
    Status driven = began.ok() ? Drive(bound, done, /*look_first=*/static_cast<bool>(begin)) : Ok();
    lock.lock();
    driven_ = driver_sends_ = false;
    if (closed_) stream_->Close();
    UpdateWatch();
    outbound_.WakeAll();
    RETURN_IF_ERROR(std::move(began));
    if (!driven.ok() && outbound_.down().ok())
      return driven.WithContext(outbound_.peer_name() + " has not answered");
  }
  return outbound_.down();
}

// Reads and writes until `done`.
Status TcpConnection::Drive(Bound bound, const std::function<bool()>& done, bool look_first) {
  const TimePoint begin = steady_clock::now();
  ProgressWatch watch(bound, begin);
  TimePoint now = begin;
  TimePoint spin_until = begin + spin_;
  TimePoint next_look = begin + kInterruptPeriod;
  std::optional<Vigil> vigil;  // begins with the first look: most waits are over by then
  std::int64_t heard = inbound_.heard_ns();
  unsigned polls = 0;
  // The reactor may be in the middle of reading what this caller waits for; from the next time on
  // it leaves that to the caller.
  { std::lock_guard lock(inbound_.mutex()); }
  // An answer to what was sent just now can't be there yet. (What OpenSSL has read ahead can.)
  for (bool look = look_first || stream_->encrypted();; look = true) {
    Inbound::Pumped pumped = Inbound::Pumped::kDrained;
    bool bulk;
    bool full;
    if (look) {
      std::lock_guard lock(inbound_.mutex());
      pumped = inbound_.Pump(kReadBudget);
    }
    {
      std::lock_guard lock(outbound_.mutex());
      (void)outbound_.Pump();
      if (!outbound_.down().ok() || done()) return Ok();
      // from now on who finds the socket full asks the reactor, unless it is full already
      full = driver_sends_ = outbound_.blocked();
      UpdateWatch();
      bulk = full || !outbound_.IsBulkDone();
    }
    now = steady_clock::now();
    if (now >= watch.deadline() && watch.IsOver(now, Progress()))
      return DeadlineExceeded("{}", watch.why());
    if (now >= next_look) {
      if (InterruptRequested())
        return Interrupted(
            "the wait was interrupted: by a signal, or because what it waited on was closed");
      if (IsSilent(now, vigil)) continue;
      watch.Look(now, Progress());
      next_look = now + kInterruptPeriod;
    }
    if (pumped == Inbound::Pumped::kBudget) continue;
    if (inbound_.heard_ns() != heard) {
      heard = inbound_.heard_ns();
      spin_until = now + spin_;
    }
    if (!bulk && now < spin_until && pumped == Inbound::Pumped::kDrained) {
      if (++polls % kPollsPerYield == 0) ::sched_yield();
      continue;
    }
    pollfd ready{stream_->fd(), static_cast<short>(full ? POLLIN | POLLOUT : POLLIN), 0};
    auto left = std::chrono::ceil<milliseconds>(std::min(watch.deadline(), next_look) - now);
    // Paused: the port has to take what is there first. Ended: it says why.
    if (pumped != Inbound::Pumped::kDrained) {
      ready.fd = -1;
      left = milliseconds(1);
    }
    ::poll(&ready, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
  }
}

Vigil::Signs TcpConnection::SignsOfLife() const {
  const auto heard = std::chrono::nanoseconds(inbound_.heard_ns());
  return {TimePoint(heard), stream_->TakenBytes(), outbound_.asked_bytes()};
}

// Asks a peer that says nothing whether it lives; true: it is given up.
bool TcpConnection::IsSilent(TimePoint now, std::optional<Vigil>& vigil) {
  if (!vigil.has_value()) {
    vigil.emplace(now, SignsOfLife());
    return false;
  }
  switch (vigil->Look(now, SignsOfLife())) {
    case Vigil::Verdict::kPatience: return false;
    case Vigil::Verdict::kAsk: outbound_.Ping(); return false;
    case Vigil::Verdict::kSilent: break;
  }
  std::lock_guard lock(inbound_.mutex());
  inbound_.End(Disconnected("it has not answered for {} ms: it is stopped, or cut off",
                            vigil->silence().count()));
  return true;
}

}  // namespace memfabric::transport::tcp
