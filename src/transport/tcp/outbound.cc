// What this end asks and answers: requests from their start to their answer, and what Inbound has
// read for them. outbound_send.cc sends it.

#include "transport/tcp/outbound.h"

#include <algorithm>
#include <utility>

namespace memfabric::transport::tcp {

void Outbound::Open() {
  open_ = true;
  CommitFrame(Outgoing::Frame(EncodePreface(tokens_)));
}

void Outbound::Attach(const ServedMemory& memory, Rank rank, const std::string& who) {
  attached_ = true;
  memory_ = &memory;
  rank_ = rank;
  name_ = fmt::format("rank {} ({})", rank, who);
}

void Outbound::QueueMessage(std::vector<std::byte> message) {
  control_.push_back(std::move(message));
  requests_open_ = attached_;
}

Status Outbound::Enqueue(QueuedRequest queued) {
  RETURN_IF_ERROR(down_);
  Header& header = queued.header;
  header.sequence = queued.request.sequence = next_sequence_++;
  header.token = peer_tokens_[IsRegistered(header.op) ? kRegisteredToken : header.zone];
  queued.request.by = std::this_thread::get_id();
  queued.frame.header = EncodeHeader(header);
  queued.frame.sequence = header.sequence;
  queued.frame.by = queued.request.by;
  if (queued.request.size_bytes >= kBulkBytes) bulk_sequence_ = header.sequence;
  if (header.op == Op::kPut) unacknowledged_.push_back({header.sequence, queued.request.by});
  requests_.push_back(std::move(queued));
  return Ok();
}

bool Outbound::SetDown(const Status& why) {
  if (!down_.ok()) return false;
  down_ = why;
  stopped_ = true;
  blocked_ = false;
  committed_.clear();
  rest_.reset();
  put_errors_.clear();
  cancels_.clear();
  answers_.clear();
  requests_.clear();
  unanswered_.clear();
  unacknowledged_.clear();
  changed_.notify_all();
  return true;
}

bool Outbound::OnEnd(const Status& why, bool has_left) {
  std::lock_guard lock(mutex_);
  if (has_left) return SetDown(Disconnected("rank {} has left", rank_));
  return SetDown(Disconnected("{} {}: {}", name_,
                              IsInvalidArgument(why) ? "broke the protocol" : "died",
                              why.ok() ? "its connection ended" : why.message()));
}

bool Outbound::IsDone(std::uint64_t sequence) const {
  return (unacknowledged_.empty() || unacknowledged_.front().sequence > sequence) &&
         (unanswered_.empty() || unanswered_.front().sequence > sequence) &&
         (requests_.empty() || requests_.front().request.sequence > sequence);
}

bool Outbound::GiveUp() {
  const auto me = std::this_thread::get_id();
  for (const QueuedRequest& queued : requests_) {
    if (queued.request.by != me) continue;
    std::erase_if(unacknowledged_,
                  [&](const auto& put) { return put.sequence == queued.request.sequence; });
  }
  for (Unacknowledged& put : unacknowledged_) {
    if (put.by == me) put.by = {};
  }
  // Signals use nobody's memory, and somebody waits for them.
  std::erase_if(requests_, [&](const QueuedRequest& queued) {
    return queued.request.by == me && queued.request.op != Op::kSignal;
  });
  for (Request& request : unanswered_) {
    if (request.by != me) continue;
    if (request.is_get() && !request.given_up && request.size_bytes >= kBulkBytes)
      cancels_.push_back(request.sequence);
    request.given_up = true;
    request.destination.clear();
    request.local = {};
  }
  for (Outgoing& frame : committed_) {
    if (frame.by == me) frame.SendZeros();
  }
  if (rest_.has_value() && rest_->by == me) {
    rest_->given_up = true;
    rest_->payload.clear();
  }
  errors_.erase(me);
  WakeWaiters();
  return !unanswered_.empty() && unanswered_.front().given_up;
}

Status Outbound::Wait(std::unique_lock<std::mutex>& lock, Deadline deadline,
                      const std::function<bool()>& done) {
  ++waiting_;
  Status waited = WaitUntil(lock, changed_, deadline, [&] { return !down_.ok() || done(); });
  --waiting_;
  return waited;
}

void Outbound::WakeWaiters() {
  if (waiting_ > 0) changed_.notify_all();
}

std::uint64_t Outbound::last_sequence() {
  std::lock_guard lock(mutex_);
  return next_sequence_ - 1;
}

Status Outbound::TakeError() {
  std::lock_guard lock(mutex_);
  if (errors_.empty()) return Ok();
  auto found = errors_.extract(std::this_thread::get_id());
  return found ? std::move(found.mapped()) : Ok();
}

void Outbound::Ping() {
  std::lock_guard lock(mutex_);
  ping_ = true;
}

void Outbound::OnPreface(const Tokens& tokens) {
  std::lock_guard lock(mutex_);
  peer_tokens_ = tokens;
}

void Outbound::OnPing() {
  std::lock_guard lock(mutex_);
  pong_ = true;
}

Status Outbound::OnAnswerWanted() {
  std::lock_guard lock(mutex_);
  if (++peers_unanswered_ > kMaxUnanswered)
    return InvalidArgument("more than {} requests at once", kMaxUnanswered);
  return Ok();
}

void Outbound::Answer(Outgoing frame) {
  std::lock_guard lock(mutex_);
  if (down_.ok()) answers_.push_back(std::move(frame));
}

void Outbound::Acknowledge(std::uint64_t sequence, Status error) {
  std::lock_guard lock(mutex_);
  if (!down_.ok()) return;
  acknowledge_ = sequence;
  if (error.ok()) return;
  put_errors_.push_back(Outgoing::Done(sequence, error));
  put_errors_.back().answer = false;
}

void Outbound::OnSignal() {
  std::lock_guard lock(mutex_);
  WakeWaiters();  // one of them may wait for it while another one drives
}

void Outbound::OnCancel(std::uint64_t sequence) {
  std::lock_guard lock(mutex_);
  for (Outgoing& frame : answers_) {
    if (!frame.is_data || frame.sequence != sequence) continue;
    frame = Outgoing::Done(frame.sequence, Interrupted("it was given up"));
    return;
  }
  if (!rest_.has_value() || !rest_->is_data || rest_->sequence != sequence) return;
  rest_->given_up = true;
  rest_->payload.clear();
}

Status Outbound::OnAck(std::uint64_t sequence) {
  std::lock_guard lock(mutex_);
  if (sequence > committed_put_)
    return InvalidArgument("an ACK of PUT {}, before it was sent", sequence);
  while (!unacknowledged_.empty() && unacknowledged_.front().sequence <= sequence)
    unacknowledged_.pop_front();
  WakeWaiters();
  return Ok();
}

Status Outbound::OnDone(const Header& header, std::span<const std::byte> text) {
  std::lock_guard lock(mutex_);
  Status status;
  if (header.kind != Kind::kOk) {
    std::string reason(reinterpret_cast<const char*>(text.data()), text.size());
    std::replace_if(
        reason.begin(), reason.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    status = Status(header.kind, name_ + ": " + reason);
  }
  if (unanswered_.empty() || unanswered_.front().sequence != header.sequence) {
    auto put = std::find_if(unacknowledged_.begin(), unacknowledged_.end(),
                            [&](const auto& one) { return one.sequence == header.sequence; });
    if (status.ok() || put == unacknowledged_.end() || header.sequence > committed_put_)
      return InvalidArgument("DONE for request {}, which doesn't wait for it", header.sequence);
    if (put->by != std::thread::id{}) errors_.try_emplace(put->by, std::move(status));
    return Ok();
  }
  Request& request = unanswered_.front();
  if (status.ok() && request.op == Op::kGet && !request.aborted)
    return InvalidArgument("DONE for a GET, without its DATA");
  if (status.ok() && request.op == Op::kGetRegistered && !request.has_data && !request.given_up)
    return InvalidArgument("DONE for a GET_REGISTERED without its DATA");
  if (request.cell != nullptr) {
    *request.cell = {header.value, std::move(status), true};
  } else if (!request.given_up) {
    if (status.ok() && request.aborted)
      status = Internal("{} sent a part of what was asked for, and no reason", name_);
    if (!status.ok()) errors_.try_emplace(request.by, std::move(status));
  }
  unanswered_.pop_front();
  WakeWaiters();
  return Ok();
}

Status Outbound::OnData(const Header& header, std::vector<iovec>& places, bool& wanted) {
  std::lock_guard lock(mutex_);
  if (unanswered_.empty()) return InvalidArgument("DATA that nobody asked for");
  const Request& request = unanswered_.front();
  if (!request.is_get() || request.has_data || header.sequence != request.sequence ||
      header.size_bytes != request.size_bytes) {
    return InvalidArgument("DATA of {} bytes for request {}, where request {} waits",
                           header.size_bytes, header.sequence, request.sequence);
  }
  places = request.destination;
  wanted = !request.given_up;
  return Ok();
}

void Outbound::FailData(const Status& why) {
  std::lock_guard lock(mutex_);
  if (!down_.ok()) return;
  Request& request = unanswered_.front();
  errors_.try_emplace(request.by, why);
  request.given_up = true;
  request.destination.clear();
}

void Outbound::OnDataAborted() {
  std::lock_guard lock(mutex_);
  if (down_.ok()) unanswered_.front().aborted = true;  // DONE follows
}

void Outbound::OnDataPlaced() {
  std::lock_guard lock(mutex_);
  if (!down_.ok()) return;
  if (unanswered_.front().op == Op::kGet) {
    unanswered_.pop_front();
    WakeWaiters();
  } else {
    unanswered_.front().has_data = true;
  }
}

void Outbound::Warn(const Status& why) {
  std::lock_guard lock(mutex_);
  if (down_.ok()) memory_->Warn(name_, why);
}

}  // namespace memfabric::transport::tcp
