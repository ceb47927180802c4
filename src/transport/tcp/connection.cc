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

bool IsBye(std::span<const std::byte> message) {
  auto parsed = meeting::ParseMessage(message);
  return parsed.ok() && std::holds_alternative<meeting::Bye>(*parsed);
}

}  // namespace

TcpConnection::TcpConnection(Reactor& reactor, std::shared_ptr<const ServedMemory> memory,
                             std::unique_ptr<BounceBuffer> bounce,
                             std::unique_ptr<ByteStream> stream, std::string who,
                             std::chrono::microseconds spin)
    : reactor_(reactor),
      memory_(std::move(memory)),
      bounce_(std::move(bounce)),
      stream_(std::move(stream)),
      who_(std::move(who)),
      spin_(spin) {}

TcpConnection::~TcpConnection() = default;

Status TcpConnection::Watch(std::function<void(bool hung_up)> on_ready) {
  watched_ = stream_->connector() ? EPOLLOUT : EPOLLIN;
  RETURN_IF_ERROR(
      reactor_.Add(stream_->fd(), watched_, [self = weak_from_this()](std::uint32_t events) {
        if (auto connection = self.lock(); connection != nullptr) connection->OnEvents(events);
      }));
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
    std::unique_lock lock(send_mutex_);
    SendUntilBlocked(lock);
  }
  if ((events & ~std::uint32_t{EPOLLOUT}) != 0) (*on_ready)(false);
}

void TcpConnection::AdvanceHandshake() {
  auto need = stream_->Handshake();
  if (!need.ok() || *need == ByteStream::Need::kAnotherTry) {
    handshake_pending_ = false;
    std::lock_guard lock(receive_mutex_);
    ended_ = true;
    end_why_ = need.status();
    return;
  }
  std::unique_lock lock(send_mutex_);
  if (*need != ByteStream::Need::kNothing) {
    const std::uint32_t events = *need == ByteStream::Need::kReadable ? EPOLLIN : EPOLLOUT;
    if (events != watched_) reactor_.Modify(stream_->fd(), events);
    watched_ = events;
    return;
  }
  handshake_pending_ = false;
  open_ = true;
  CommitFrame(Frame(EncodePreface(memory_->tokens)));
  SendUntilBlocked(lock);
}

Packet TcpConnection::Receive(std::span<std::byte> buffer) {
  Packet packet;
  if (handshake_pending_) AdvanceHandshake();
  if (handshake_pending_) return packet;
  std::unique_lock lock(receive_mutex_);
  if (inbox_.empty() && !driven_) {
    const std::int64_t heard = heard_ns_.load(std::memory_order_relaxed);
    const Pumped pumped = PumpIn(kReadBudget);
    if (pumped != Pumped::kEnded && heard_ns_.load(std::memory_order_relaxed) != heard) {
      if (header_.size_bytes < kBulkBytes) reactor_.StayAwake(spin_, stream_->fd());
      if (pumped == Pumped::kBudget && stream_->HasReadAhead()) WakePort();
      std::unique_lock send_lock(send_mutex_);
      SendUntilBlocked(send_lock);
    }
  }
  if (!inbox_.empty()) {
    CHECK(inbox_.front().size() <= buffer.size());
    std::copy(inbox_.front().begin(), inbox_.front().end(), buffer.begin());
    packet.state = Packet::State::kMessage;
    packet.size_bytes = inbox_.front().size();
    inbox_.pop_front();
  } else if (ended_) {
    packet.state = Packet::State::kEnded;
    packet.why = end_why_;
  }
  return packet;
}

// Has the port look at inbox_, or at the end.
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
  std::unique_lock lock(send_mutex_);
  if (closed_ || bytes.size() > kMaxControlBytes) return;
  control_.push_back(std::move(bytes));
  requests_open_ = attached_;
  SendUntilBlocked(lock);
}

void TcpConnection::Post(std::vector<std::byte> bytes) {
  reactor_.Post([self = weak_from_this(), bytes = std::move(bytes)]() mutable {
    if (auto connection = self.lock(); connection != nullptr) connection->Send(std::move(bytes));
  });
}

std::size_t TcpConnection::waiting_packets() const {
  std::lock_guard lock(send_mutex_);
  return control_.size();
}

void TcpConnection::Attach(Rank rank) {
  std::lock_guard receive_lock(receive_mutex_);
  std::lock_guard lock(send_mutex_);
  attached_ = true;
  rank_ = rank;
  name_ = fmt::format("rank {} ({})", rank, who_);
}

void TcpConnection::Close() {
  on_ready_ = nullptr;
  std::lock_guard receive_lock(receive_mutex_);
  std::lock_guard lock(send_mutex_);
  if (std::exchange(closed_, true)) return;
  reactor_.Remove(stream_->fd());
  ended_ = true;
  // Who drives sleeps on the socket: he closes it.
  driven_ ? stream_->Shutdown() : stream_->Close();
}

void TcpConnection::UpdateWatch() {
  if (closed_ || !open_) return;
  const std::uint32_t wanted =
      (driven_ ? 0u : EPOLLIN) | (blocked_ && !driver_sends_ ? EPOLLOUT : 0u);
  if (wanted == watched_) return;
  reactor_.Modify(stream_->fd(), wanted);
  watched_ = wanted;
}

// The stream is over, or nothing sensible comes from it any more.
void TcpConnection::End(const Status& why) {
  ended_ = true;
  end_why_ = why;
  stream_->Shutdown();
  std::lock_guard lock(send_mutex_);
  if (!inbox_.empty() && IsBye(inbox_.back())) {
    SetDownLocked(Disconnected("rank {} has left", rank_));
  } else {
    SetDownLocked(Disconnected("{} {}: {}", name_,
                               IsInvalidArgument(why) ? "broke the protocol" : "died",
                               why.ok() ? "its connection ended" : why.message()));
  }
  if (!reactor_.OnThread()) WakePort();
}

void TcpConnection::SetDown(const Status& why) {
  std::lock_guard receive_lock(receive_mutex_);
  std::lock_guard lock(send_mutex_);
  SetDownLocked(why);
}

void TcpConnection::SetDownLocked(const Status& why) {
  if (!down_.ok()) return;
  down_ = why;
  send_broken_ = true;
  blocked_ = false;
  committed_.clear();
  rest_.reset();
  put_errors_.clear();
  cancels_.clear();
  answers_.clear();
  requests_.clear();
  unanswered_.clear();
  unacknowledged_.clear();
  parts_.clear();
  changed_.notify_all();
}

void TcpConnection::WakeWaiters() {
  if (waiting_ > 0) changed_.notify_all();
}

bool TcpConnection::IsDone(std::uint64_t sequence) const {
  return (unacknowledged_.empty() || unacknowledged_.front().sequence > sequence) &&
         (unanswered_.empty() || unanswered_.front().sequence > sequence) &&
         (requests_.empty() || requests_.front().request.sequence > sequence);
}

Status TcpConnection::Flush(Bound bound) {
  std::uint64_t until;
  {
    std::lock_guard lock(send_mutex_);
    until = next_sequence_ - 1;  // other threads' too: more than asked, never less
  }
  Status waited = Await(bound, [&] { return IsDone(until); });
  if (IsDeadlineExceeded(waited) || IsInterrupted(waited)) GiveUp();
  RETURN_IF_ERROR(waited);
  std::lock_guard lock(send_mutex_);
  if (errors_.empty()) return Ok();
  auto found = errors_.extract(std::this_thread::get_id());
  return found ? std::move(found.mapped()) : Ok();
}

// What the stream has begun with can't be taken back: the segment goes on, with zeros in place of
// what isn't sent yet, then an ABORT; the peer is asked to do so with its DATA, and what still
// comes is dropped.
void TcpConnection::GiveUp() {
  const auto me = std::this_thread::get_id();
  std::lock_guard receive_lock(receive_mutex_);
  std::lock_guard lock(send_mutex_);
  for (const Queued& queued : requests_) {
    if (queued.request.by != me) continue;
    std::erase_if(unacknowledged_,
                  [&](const auto& put) { return put.sequence == queued.request.sequence; });
  }
  for (Unacknowledged& put : unacknowledged_) {
    if (put.by == me) put.by = {};
  }
  // Signals use nobody's memory, and somebody waits for them.
  std::erase_if(requests_, [&](const Queued& queued) {
    return queued.request.by == me && queued.request.op != Op::kSignal;
  });
  for (Request& request : unanswered_) {
    if (request.by != me) continue;
    const bool gets = request.op == Op::kGet || request.op == Op::kGetRegistered;
    if (gets && !request.given_up && request.size_bytes >= kBulkBytes)
      cancels_.push_back(request.sequence);
    request.given_up = true;
    request.destination.clear();
    request.local = {};
  }
  if (payload_left_ > 0 && header_.op == Op::kData && unanswered_.front().given_up) {
    parts_.clear();
    (reading_ == Reading::kHeader ? resume_ : reading_) = Reading::kJunk;
  }
  for (Outgoing& frame : committed_) {
    if (frame.by == me) SendZeros(frame);
  }
  if (rest_.has_value() && rest_->by == me) {
    rest_->given_up = true;
    rest_->payload.clear();
  }
  errors_.erase(me);
  WakeWaiters();
  (void)PumpOut();
  UpdateWatch();
}

// What rises as long as requests go on: bytes that came, and that the other host has taken; our own
// questions aside.
std::int64_t TcpConnection::Progress() const {
  return static_cast<std::int64_t>(received_.load(std::memory_order_relaxed) +
                                   stream_->TakenBytes() -
                                   asked_bytes_.load(std::memory_order_relaxed));
}

Status TcpConnection::Await(Bound bound, const std::function<bool()>& done,
                            const std::function<Status()>& begin) {
  bound.end = std::min(bound.end, CallDeadline());
  ProgressWatch watch(bound, steady_clock::now());
  std::unique_lock lock(send_mutex_);
  bool begun = !begin;
  while (!begun || (down_.ok() && !done())) {
    if (!begun && (driven_ || !down_.ok())) {
      begun = true;
      lock.unlock();
      RETURN_IF_ERROR(begin());
      lock.lock();
      continue;
    }
    if (driven_) {
      ++waiting_;
      Status waited = WaitUntil(lock, changed_, watch.deadline(),
                                [&] { return !down_.ok() || done() || !driven_; });
      --waiting_;
      if (IsDeadlineExceeded(waited) && !watch.IsOver(steady_clock::now(), Progress())) continue;
      if (!waited.ok()) return waited.WithContext(name_ + " has not answered");
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
    changed_.notify_all();
    RETURN_IF_ERROR(std::move(began));
    if (!driven.ok() && down_.ok()) return driven.WithContext(name_ + " has not answered");
  }
  return down_;
}

// Reads and writes until `done`.
Status TcpConnection::Drive(Bound bound, const std::function<bool()>& done, bool look_first) {
  const TimePoint begin = steady_clock::now();
  ProgressWatch watch(bound, begin);
  TimePoint now = begin;
  TimePoint spin_until = begin + spin_;
  TimePoint next_look = begin + kInterruptPeriod;
  std::optional<Vigil> vigil;  // begins with the first look: most waits are over by then
  std::int64_t heard = heard_ns_.load(std::memory_order_relaxed);
  unsigned polls = 0;
  // The reactor may be in the middle of reading what this caller waits for; from the next time on
  // it leaves that to him.
  { std::lock_guard lock(receive_mutex_); }
  // An answer to what was sent just now can't be there yet. (What OpenSSL has read ahead can.)
  for (bool look = look_first || stream_->encrypted();; look = true) {
    Pumped pumped = Pumped::kDrained;
    bool bulk;
    bool full;
    if (look) {
      std::lock_guard lock(receive_mutex_);
      pumped = PumpIn(kReadBudget);
    }
    {
      std::lock_guard lock(send_mutex_);
      (void)PumpOut();
      if (!down_.ok() || done()) return Ok();
      // from now on who finds the socket full asks the reactor, unless it is full already
      full = driver_sends_ = blocked_;
      UpdateWatch();
      bulk = full || !IsDone(bulk_sequence_);
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
    if (pumped == Pumped::kBudget) continue;
    if (heard_ns_.load(std::memory_order_relaxed) != heard) {
      heard = heard_ns_.load(std::memory_order_relaxed);
      spin_until = now + spin_;
    }
    if (!bulk && now < spin_until && pumped == Pumped::kDrained) {
      if (++polls % kPollsPerYield == 0) ::sched_yield();
      continue;
    }
    pollfd ready{stream_->fd(), static_cast<short>(full ? POLLIN | POLLOUT : POLLIN), 0};
    auto left = std::chrono::ceil<milliseconds>(std::min(watch.deadline(), next_look) - now);
    // Paused: the port has to take what is there first. Ended: it says why.
    if (pumped != Pumped::kDrained) {
      ready.fd = -1;
      left = milliseconds(1);
    }
    ::poll(&ready, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
  }
}

Vigil::Signs TcpConnection::SignsOfLife() const {
  const auto heard = std::chrono::nanoseconds(heard_ns_.load(std::memory_order_relaxed));
  return {TimePoint(heard), stream_->TakenBytes(), asked_bytes_.load(std::memory_order_relaxed)};
}

// One line for the owner of memory that peers reach and that is not as it should be; at most each
// kWarnPeriod.
void TcpConnection::WarnOfMemory(const Status& why) const {
  constexpr std::chrono::seconds kWarnPeriod{10};
  const std::int64_t now = steady_clock::now().time_since_epoch().count();
  std::int64_t next = memory_->next_warning_ns.load(std::memory_order_relaxed);
  if (now < next) return;
  if (!memory_->next_warning_ns.compare_exchange_strong(
          next, now + std::chrono::nanoseconds(kWarnPeriod).count()))
    return;
  LOG(kWarn, "a request of {} has failed: {}", name_, why.message());
}

// Asks a peer that says nothing whether it lives; true: it is given up.
bool TcpConnection::IsSilent(TimePoint now, std::optional<Vigil>& vigil) {
  if (!vigil.has_value()) {
    vigil.emplace(now, SignsOfLife());
    return false;
  }
  switch (vigil->Look(now, SignsOfLife())) {
    case Vigil::Verdict::kPatience: return false;
    case Vigil::Verdict::kAsk: {
      std::lock_guard lock(send_mutex_);
      ping_ = true;
      return false;
    }
    case Vigil::Verdict::kSilent: break;
  }
  std::lock_guard lock(receive_mutex_);
  End(Disconnected("it has not answered for {} ms: it is stopped, or cut off",
                   vigil->silence().count()));
  return true;
}

}  // namespace memfabric::transport::tcp
