#include "group/group.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "address/rank_list.h"
#include "base/mutex.h"
#include "base/wait.h"
#include "group/doorbell.h"
#include "memory/kernels.h"

namespace memfabric::group {
namespace {

using std::chrono::steady_clock;
using transport::Piece;

// a signature; an all-gather's is its length
constexpr std::uint64_t kBarrier = 0;
constexpr std::chrono::milliseconds kAbsentLook{1000};  // to ask other hosts who has not arrived
constexpr std::chrono::milliseconds kLingerPoll{1};
// members that each looks at all of: one line to fetch of each, against log2 of them in turn
constexpr std::size_t kFew = 8;

std::string OperationText(std::uint64_t signature) {
  return signature == kBarrier ? "barrier" : fmt::format("all_gather of {} bytes", signature);
}

std::uint64_t ArrivalOffset(const Seat& seat, std::uint64_t sequence) {
  return ChannelOffset(seat.channel) + offsetof(Channel, arrivals) + sequence % 2 * sizeof(Arrival);
}

std::uint64_t BlockOffset(const Seat& seat, std::uint64_t sequence) {
  if (seat.channel == 0) return offsetof(Control, blocks) + sequence % kPlaces * kMaxBlockBytes;
  return ChannelOffset(seat.channel) + offsetof(Channel, blocks) + sequence % 2 * kMaxBlockBytes;
}

// An Arrival as a get brings it.
struct ArrivalNumbers {
  std::uint64_t sequence = 0;
  std::uint64_t signature = 0;
};

}  // namespace

// The end of a turn that was taken.
struct Group::Turn {
  explicit Turn(Group& owner) : group(owner) {}
  ~Turn() { group.EndTurn(); }
  Group& group;
};

Group::Group(Members& members, std::string name, std::vector<Seat> seats, std::uint32_t own_seat,
             bool crowded)
    : members_(members),
      name_(std::move(name)),
      seats_(std::move(seats)),
      own_seat_(own_seat),
      crowded_(crowded),
      few_(seats_.size() <= kFew),
      one_host_(std::all_of(seats_.begin(), seats_.end(), [&](const Seat& seat) {
        return members.FirstOnHost(seat.rank) == members.FirstOnHost(seats_[own_seat].rank);
      })) {
  std::map<Rank, std::uint32_t> firsts;  // by host
  const Rank here = members_.FirstOnHost(seats_[own_seat_].rank);
  for (std::uint32_t seat = 0; seat < seats_.size(); ++seat) {
    auto [first, is_first] = firsts.try_emplace(members_.FirstOnHost(seats_[seat].rank), seat);
    if (first->first == here) {
      first_near_ = first->second;
      ++near_;
    }
    if (seat == own_seat_) own_place_ = static_cast<std::uint32_t>(ring_.size());
    if (one_host_ || is_first) ring_.push_back(seat);
  }
}

Status Group::TakeTurn(Deadline deadline) {
  Use free = Use::kFree;
  if (use_.compare_exchange_strong(free, Use::kTaken, std::memory_order_acquire)) [[likely]]
    return Ok();
  MutexLock lock(mutex_);
  Status status = WaitUntil(mutex_, freed_, deadline, [&]() REQUIRES(mutex_) {
    return use_.exchange(Use::kWanted, std::memory_order_acq_rel) == Use::kFree;
  });
  return status.WithContext(fmt::format("{}: another thread's operation has not ended", name_));
}

void Group::EndTurn() {
  if (use_.exchange(Use::kFree, std::memory_order_acq_rel) != Use::kWanted) [[likely]]
    return;
  MutexLock lock(mutex_);
  freed_.NotifyOne();
}

Status Group::Barrier(Deadline deadline) {
  RETURN_IF_ERROR(TakeTurn(deadline));
  Turn turn(*this);
  RETURN_IF_ERROR(Meet(kBarrier, {}, deadline));
  own().finished.value.store(sequence_, std::memory_order_release);
  return Ok();
}

Status Group::AllGather(std::span<const std::byte> block, std::span<std::byte> gathered,
                        Deadline deadline) {
  RETURN_IF_ERROR(TakeTurn(deadline));
  Turn turn(*this);
  RETURN_IF_ERROR(Meet(block.size(), block, deadline));
  Status read = ReadBlocks(block, gathered, deadline);
  own().finished.value.store(sequence_, std::memory_order_release);
  return read;
}

std::byte* Group::BlockPlace(const Seat& seat, std::uint64_t size_bytes) const {
  if (one_host_ && size_bytes <= kSmallBlockBytes)
    return ChannelOf(seat).arrivals[sequence_ % 2].block.data();
  return reinterpret_cast<std::byte*>(members_.Mapped(seat.rank)) + BlockOffset(seat, sequence_);
}

Status Group::Meet(std::uint64_t signature, std::span<const std::byte> block, Deadline deadline) {
  RETURN_IF_ERROR(
      CheckLosses(sequence_ + (unfinished_.has_value() ? 0 : 1), !unfinished_.has_value()));
  if (unfinished_.has_value() && *unfinished_ != signature)
    return InvalidArgument(
        "{}: the {} that did not end in time is still under way: call it again before a {}", name_,
        OperationText(*unfinished_), OperationText(signature));
  if (!unfinished_.has_value()) {
    ++sequence_;
    round_ = 0;
    signalled_ = false;
    unfinished_ = signature;
    if (!block.empty())
      std::memcpy(BlockPlace(seats_[own_seat_], block.size()), block.data(), block.size());
    Arrival& arrival = own().arrivals[sequence_ % 2];
    arrival.signature.store(signature, std::memory_order_relaxed);
    arrival.sequence.store(sequence_,
                           one_host_ ? std::memory_order_seq_cst : std::memory_order_release);
  }
  Status status = !one_host_ ? MeetByHosts(deadline)
                  : crowded_ ? MeetAtFirst(deadline)
                  : few_     ? MeetEach(deadline)
                             : Disseminate(deadline);
  if (IsDeadlineExceeded(status))
    return DeadlineExceeded(
        "{}: {} did not end in time: rank(s) {} have not arrived; calling it again goes on waiting",
        name_, OperationText(signature), Absent());
  if (!status.ok())
    return status.WithContext(fmt::format("{}: {}", name_, OperationText(signature)));
  unfinished_.reset();
  own().completed.value.store(sequence_, std::memory_order_release);
  return Ok();
}

template <typename Done>
Status Group::AwaitOthers(Deadline deadline, const Done& done) {
  Patience patience{
      .crowded = crowded_, .nap = one_host_ ? kLongNap : kShortNap, .deadline = deadline};
  return Await(members_.Mapped(members_.own())->doorbell, patience, done,
               [&] { return CheckLosses(sequence_, false); });
}

Status Group::MeetAtFirst(Deadline deadline) {
  Channel& first = ChannelOf(seats_[0]);
  if (!std::exchange(signalled_, true)) {
    if (first.arrived.value.fetch_add(1, std::memory_order_acq_rel) + 1 ==
        sequence_ * seats_.size()) {
      first.released.value.store(sequence_, std::memory_order_seq_cst);
      for (const Seat& seat : seats_) Ring(members_.Mapped(seat.rank)->doorbell);
      return Ok();
    }
  }
  return AwaitOthers(
      deadline, [&] { return first.released.value.load(std::memory_order_seq_cst) >= sequence_; });
}

Status Group::MeetEach(Deadline deadline) {
  if (!std::exchange(signalled_, true)) {
    for (const Seat& seat : seats_) Ring(members_.Mapped(seat.rank)->doorbell);
  }
  return AwaitOthers(deadline, [&] {
    for (; round_ < seats_.size(); ++round_) {  // those before have arrived
      const Cell& theirs = ChannelOf(seats_[round_]).arrivals[sequence_ % 2].sequence;
      if (theirs.load(std::memory_order_seq_cst) < sequence_) return false;
    }
    return true;
  });
}

Status Group::MeetByHosts(Deadline deadline) {
  Control& control = *members_.Mapped(seats_[first_near_].rank);
  Channel& first = ChannelOf(seats_[first_near_]);
  const std::uint64_t all = sequence_ * (near_ - 1);
  if (own_seat_ != first_near_) {
    if (!std::exchange(signalled_, true) &&
        first.arrived.value.fetch_add(1, std::memory_order_seq_cst) + 1 == all)
      Ring(control.doorbell);
    return AwaitOthers(deadline, [&] {
      return first.released.value.load(std::memory_order_seq_cst) >= sequence_;
    });
  }
  RETURN_IF_ERROR(AwaitOthers(
      deadline, [&] { return first.arrived.value.load(std::memory_order_seq_cst) >= all; }));
  RETURN_IF_ERROR(Disseminate(deadline));
  first.released.value.store(sequence_, std::memory_order_seq_cst);
  for (const Seat& seat : seats_)
    if (Control* theirs = members_.Mapped(seat.rank)) Ring(theirs->doorbell);
  return Ok();
}

Status Group::Disseminate(Deadline deadline) {
  for (; (std::size_t{1} << round_) < ring_.size(); ++round_, signalled_ = false) {
    const Seat& to = seats_[ring_[(own_place_ + (1u << round_)) % ring_.size()]];
    const Seat& from = seats_[ring_[(own_place_ + ring_.size() - (1u << round_)) % ring_.size()]];
    const Flag& flag = own().flags[round_];
    auto signal = [&]() -> Status {
      // One that was given up is put again: the number is the same.
      if (!signalled_) RETURN_IF_ERROR(Signal(to, round_, deadline));
      signalled_ = true;
      return Ok();
    };
    auto reached = [&] { return flag.Reached(sequence_); };
    auto link = members_.Mapped(from.rank) == nullptr ? members_.LinkOf(from.rank) : nullptr;
    if (link == nullptr) {
      RETURN_IF_ERROR(signal());
    } else {
      // The thread that waits on the link takes the peer's signal from the network itself.
      const std::uint32_t losses = members_.losses();
      RETURN_IF_ERROR(CheckLosses(sequence_, false));
      Status status = link->signals()->AwaitSignal(
          deadline, signal, [&] { return reached() || members_.losses() != losses; });
      if (!IsDisconnected(status)) RETURN_IF_ERROR(std::move(status));
    }
    RETURN_IF_ERROR(AwaitOthers(deadline, reached));
  }
  return Ok();
}

Status Group::Signal(const Seat& seat, unsigned round, Deadline deadline) {
  if (Control* control = members_.Mapped(seat.rank)) {
    control->channels[seat.channel].flags[round].Raise(sequence_);
    Ring(control->doorbell);
    return Ok();
  }
  auto link = members_.LinkOf(seat.rank);
  if (link == nullptr) return Gone(seat.rank);
  const std::array<std::uint64_t, 2> numbers{sequence_, ~sequence_};  // a Flag's
  Status sent = link->signals()->Signal(
      members_.zone(),
      ChannelOffset(seat.channel) + offsetof(Channel, flags) + round * sizeof(Flag),
      std::as_bytes(std::span(numbers)), deadline);
  // It has gone: with what it needed of us, or whoever misses it says so.
  return IsDisconnected(sent) ? Ok() : sent;
}

Status Group::ReadBlocks(std::span<const std::byte> block, std::span<std::byte> gathered,
                         Deadline deadline) {
  const std::uint64_t size_bytes = block.size();
  // From other hosts each comes with its arrival, which takes the place of the check below.
  const std::uint64_t part_bytes = sizeof(ArrivalNumbers) + size_bytes;
  std::unique_ptr<std::byte[]> landing;
  if (!one_host_) {
    landing = std::make_unique<std::byte[]>(seats_.size() * part_bytes);
    std::vector<std::shared_ptr<transport::Link>> links;
    Status started;
    for (std::size_t i = 0; i < seats_.size() && started.ok(); ++i) {
      const Seat& seat = seats_[i];
      if (members_.Mapped(seat.rank) != nullptr) continue;
      auto link = members_.LinkOf(seat.rank);
      if (link == nullptr) {
        started = Gone(seat.rank);
        break;
      }
      std::byte* part = &landing[i * part_bytes];
      for (const Piece& piece :
           {Piece{part, ArrivalOffset(seat, sequence_), sizeof(ArrivalNumbers)},
            Piece{part + sizeof(ArrivalNumbers), BlockOffset(seat, sequence_), size_bytes}})
        if (started.ok()) started = link->zones()->Get(members_.zone(), {&piece, 1});
      links.push_back(std::move(link));
    }
    Status landed = Land(links, deadline);
    if (!started.ok()) landed = std::move(started);
    RETURN_IF_ERROR(landed.WithContext(fmt::format("{}: {}", name_, OperationText(size_bytes))));
  }
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    ArrivalNumbers theirs;
    if (members_.Mapped(seats_[i].rank) != nullptr) {
      const Arrival& arrival = ChannelOf(seats_[i]).arrivals[sequence_ % 2];
      theirs = {arrival.sequence.load(std::memory_order_acquire),
                arrival.signature.load(std::memory_order_relaxed)};
    } else {
      std::memcpy(&theirs, &landing[i * part_bytes], sizeof(theirs));
    }
    RETURN_IF_ERROR(CheckArrival(seats_[i], theirs.sequence, theirs.signature, size_bytes));
  }
  // Its own from the caller, and first: it may lie in `gathered`.
  std::memmove(&gathered[own_seat_ * size_bytes], block.data(), size_bytes);
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    if (i == own_seat_) continue;
    const bool mapped = members_.Mapped(seats_[i].rank) != nullptr;
    const std::byte* theirs = mapped ? BlockPlace(seats_[i], size_bytes)
                                     : &landing[i * part_bytes + sizeof(ArrivalNumbers)];
    std::memcpy(&gathered[i * size_bytes], theirs, size_bytes);
  }
  return Ok();
}

Status Group::Land(std::span<const std::shared_ptr<transport::Link>> links, Deadline deadline) {
  Status landed;
  // all of them, whatever one says: until then they write to memory of ours
  for (const auto& link : links)
    if (Status status = link->Flush(deadline); landed.ok()) landed = std::move(status);
  return landed;
}

Status Group::CheckArrival(const Seat& seat, std::uint64_t sequence, std::uint64_t signature,
                           std::uint64_t ours) const {
  if (sequence == sequence_ && signature == ours) return Ok();
  if (sequence != sequence_)
    return IoError(
        "{}: rank {} says that it is in operation {}, and this one is {}: its memory was "
        "overwritten",
        name_, seat.rank, sequence, sequence_);
  return InvalidArgument(
      "{}: this rank ({}) calls {}, and rank {} calls {}: all ranks must call the same", name_,
      members_.own(), OperationText(ours), seat.rank, OperationText(signature));
}

Status Group::CheckLosses(std::uint64_t sequence, bool entering) const {
  if (members_.losses() == 0) return Ok();
  for (const Seat& seat : seats_) {
    Status why = members_.WhyGone(seat.rank);
    if (why.ok()) continue;
    // Who had ended the operation before it went has left nobody waiting.
    if (members_.Mapped(seat.rank) != nullptr) {
      if (ChannelOf(seat).completed.value.load(std::memory_order_acquire) >= sequence) continue;
    } else if (IsNotFound(why) && !entering) {
      continue;  // an orderly goodbye comes after all that it had to send
    }
    return Gone(seat.rank);
  }
  return Ok();
}

Status Group::Gone(Rank rank) const {
  return Disconnected("{}; left are rank(s) {}", members_.WhyGone(rank).message(), members_.Left());
}

std::string Group::Absent() {
  std::vector<Rank> absent;
  Deadline deadline = steady_clock::now() + kAbsentLook;
  for (const Seat& seat : seats_) {
    std::uint64_t latest = 0;
    for (std::uint64_t sequence : {sequence_ - 1, sequence_}) {
      if (members_.Mapped(seat.rank) != nullptr) {
        latest = std::max(latest, ChannelOf(seat).arrivals[sequence % 2].sequence.load(
                                      std::memory_order_acquire));
      } else {
        latest = std::max(latest,
                          RemoteNumber(seat, ArrivalOffset(seat, sequence), deadline).value_or(0));
      }
    }
    if (latest < sequence_) absent.push_back(seat.rank);
  }
  if (absent.empty()) return "?";  // they have arrived meanwhile
  return ListOf(absent);
}

std::optional<std::uint64_t> Group::RemoteNumber(const Seat& seat, std::uint64_t slot_offset,
                                                 Deadline deadline) {
  auto link = members_.LinkOf(seat.rank);
  if (link == nullptr) return std::nullopt;
  std::uint64_t number = 0;
  Piece piece{reinterpret_cast<std::byte*>(&number), slot_offset, sizeof(number)};
  if (!link->zones()->Get(members_.zone(), {&piece, 1}).ok() || !Land({&link, 1}, deadline).ok())
    return std::nullopt;
  return number;
}

void Group::Linger(Deadline deadline) {
  if (one_host_) return;
  for (const Seat& seat : seats_) {
    if (members_.Mapped(seat.rank) != nullptr) continue;
    std::uint64_t finished = ChannelOffset(seat.channel) + offsetof(Channel, finished);
    while (steady_clock::now() < deadline &&
           RemoteNumber(seat, finished, deadline).value_or(sequence_) < sequence_)
      if (!PauseUntil(steady_clock::now() + kLingerPoll).ok()) return;
  }
}

}  // namespace memfabric::group
