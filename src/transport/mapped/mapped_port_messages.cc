// What peers send to a MappedPort, and what becomes of it. Bytes and files of a peer are checked here before they count.

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/units.h"
#include "transport/mapped/mapped_port.h"

namespace memfabric::transport {
namespace {

using std::chrono::steady_clock;

constexpr int kMessagesAtOnce = 64;      // then others get their turn
constexpr std::size_t kMaxOutbox = 256;  // a peer that reads none of these many is given up
constexpr std::chrono::milliseconds kFlushPeriod{5};

template <typename... Cases>
struct Match : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Match(Cases...) -> Match<Cases...>;

std::string Name(Rank rank, pid_t pid) { return fmt::format("rank {} (pid {})", rank, pid); }

}  // namespace

void MappedPort::Receive(const ConnectionPtr& connection) {
  // Its own buffer: a message may make us look into another connection.
  std::array<std::byte, mapped::kMaxMessageBytes> buffer;
  for (int i = 0; i < kMessagesAtOnce && connection->phase != Connection::Phase::kClosed; ++i) {
    Packet packet = ReceivePacket(connection->socket.get(), buffer);
    if (packet.state == Packet::State::kNothing) return;
    if (packet.state == Packet::State::kEnded) return OnEnded(connection);
    if (packet.truncated) return Misbehaved(connection, "its message is longer than any of ours");
    auto message = mapped::ParseMessage(std::span(buffer).first(packet.size_bytes));
    if (IsUnsupported(message.status()) && connection->phase == Connection::Phase::kStranger) {
      return Refuse(connection, Kind::kInvalidArgument, "you speak " + message.status().message());
    }
    if (IsUnsupported(message.status()) && connection->phase == Connection::Phase::kIntroduced) {
      return FinishAttempt(connection->rank, InvalidArgument("{} speaks {}", Name(connection->rank, connection->pid),
                                                             message.status().message()));
    }
    if (!message.ok()) return Misbehaved(connection, message.status().message());
    OnMessage(connection, *message, packet);
  }
}

void MappedPort::OnMessage(const ConnectionPtr& connection, const mapped::Message& message, Packet& packet) {
  using Phase = Connection::Phase;
  const Phase phase = connection->phase;
  auto unexpected = [&] { Misbehaved(connection, fmt::format("{} at the wrong time", mapped::MessageName(message))); };
  std::visit(
      Match{
          [&](const mapped::Hello& hello) { phase == Phase::kStranger ? OnHello(connection, hello, packet) : unexpected(); },
          [&](const mapped::Welcome& welcome) {
            phase == Phase::kIntroduced ? OnWelcome(connection, welcome, packet) : unexpected();
          },
          [&](const mapped::Refused& refused) { phase != Phase::kStranger ? OnRefused(connection, refused) : unexpected(); },
          [&](const mapped::Duplicate&) {
            if (phase != Phase::kIntroduced) return unexpected();
            Rank rank = connection->rank;
            CloseConnection(connection, Ok());
            RetryConnect(rank, "it is connecting to us");
          },
          [&](const mapped::Ready&) { phase == Phase::kLinked && !connection->confirmed ? OnReady(connection) : unexpected(); },
          [&](const mapped::Grow& grow) { phase == Phase::kLinked ? OnGrow(connection, grow, packet) : unexpected(); },
          [&](const mapped::Grown& grown) { phase == Phase::kLinked ? OnGrown(connection, grown) : unexpected(); },
          [&](const mapped::Bye&) { phase == Phase::kLinked ? CloseConnection(connection, Ok()) : unexpected(); },
      },
      message);
}

void MappedPort::OnEnded(const ConnectionPtr& connection) {
  switch (connection->phase) {
    case Connection::Phase::kIntroduced: {
      // Dead, or closed in favour of something else. The next try will tell: nobody listens for the dead.
      Rank rank = connection->rank;
      CloseConnection(connection, Ok());
      return RetryConnect(rank, "it closed the connection without an answer");
    }
    case Connection::Phase::kLinked:
      return CloseConnection(connection,
                             Disconnected("{} died: its connection ended", Name(connection->rank, connection->pid)));
    default: return CloseConnection(connection, Ok());
  }
}

Status MappedPort::CheckIntroduction(const mapped::Introduction& introduction) const {
  if (introduction.pool != options_.pool) {
    return InvalidArgument("rank {} is in pool {}, rank {} in pool {}", introduction.from, introduction.pool, options_.rank,
                           options_.pool);
  }
  if (introduction.world_size != options_.world_size) {
    return InvalidArgument("rank {} has world size {}, rank {} has {}", introduction.from, introduction.world_size,
                           options_.rank, options_.world_size);
  }
  for (Zone zone : kAllZones) {
    std::uint64_t theirs = introduction.max_bytes[Index(zone)];
    std::uint64_t ours = options_.max_bytes[Index(zone)];
    if (theirs == ours) continue;
    return InvalidArgument("rank {} has {} slots of {} bytes, rank {} of {} bytes", introduction.from, ZoneName(zone), theirs,
                           options_.rank, ours);
  }
  if (introduction.from >= options_.world_size || introduction.from == options_.rank) {
    return InvalidArgument("rank {} can't be a peer of rank {} in a pool of {}", introduction.from, options_.rank,
                           options_.world_size);
  }
  return Ok();
}

void MappedPort::OnHello(const ConnectionPtr& connection, const mapped::Hello& hello, Packet& packet) {
  const Rank rank = hello.from;
  if (hello.key != advert_.key) {
    CountStranger(connection, "its key is wrong");
    return Refuse(connection, Kind::kDisconnected, "the key is not this member's: its address in the directory is newer");
  }
  Forget(connection);
  if (hello.to != options_.rank || hello.to_epoch != options_.epoch) {
    return Refuse(connection, Kind::kDisconnected,
                  fmt::format("this is rank {} in epoch {}, not rank {} in epoch {}", options_.rank, options_.epoch, hello.to,
                              hello.to_epoch));
  }
  if (Status fits = CheckIntroduction(hello); !fits.ok()) return Refuse(connection, Kind::kInvalidArgument, fits.message());
  if (auto known = epochs_.find(rank); known != epochs_.end() && hello.from_epoch < known->second) {
    return Refuse(connection, Kind::kInvalidArgument,
                  fmt::format("epoch {} of rank {} is over: epoch {} has been linked", hello.from_epoch, rank, known->second));
  }
  const mapped::Message duplicate = mapped::Duplicate{};
  if (ConnectionPtr former = LinkedConnection(rank); former != nullptr) {
    if (former->epoch == hello.from_epoch) return CloseConnection(connection, Ok(), &duplicate);
    CloseConnection(former, Disconnected("{} died: it is back as epoch {}", Name(rank, former->pid), hello.from_epoch));
  }
  // After the above, which may have sent callers back to trying.
  if (auto found = attempts_.find(rank); found != attempts_.end()) {
    std::uint64_t tried = found->second.address.epoch;
    if (hello.from_epoch < tried) {
      return Refuse(connection, Kind::kInvalidArgument,
                    fmt::format("epoch {} of rank {} is over: there is an epoch {}", hello.from_epoch, rank, tried));
    }
    if (hello.from_epoch > tried) {
      FinishAttempt(rank, Disconnected("rank {} in epoch {} is gone: it is back as epoch {}", rank, tried, hello.from_epoch));
    } else if (found->second.connection != nullptr && options_.rank < rank) {
      return CloseConnection(connection, Ok(), &duplicate);
    } else {
      connection->waiters = TakeAttempt(rank);
    }
  }
  if (Status linked = MakeLink(connection, hello, packet); !linked.ok()) {
    for (const Waiter& waiter : std::exchange(connection->waiters, {})) waiter.calls->Resolve(waiter.index, linked);
    return Refuse(connection, Kind::kInvalidArgument, linked.message());
  }
  mapped::Contribution own = OwnContribution();
  connection->announced = own.allocated_bytes;
  Send(connection, mapped::Welcome{Introduce(rank, connection->epoch, own)}, OwnFiles(own));
}

void MappedPort::OnWelcome(const ConnectionPtr& connection, const mapped::Welcome& welcome, Packet& packet) {
  const Rank rank = connection->rank;
  const std::string name = Name(rank, connection->pid);
  Status status = CheckIntroduction(welcome);
  if (status.ok() && (welcome.from != rank || welcome.from_epoch != connection->epoch || welcome.to != options_.rank ||
                      welcome.to_epoch != options_.epoch)) {
    status =
        Disconnected("rank {} in epoch {} answered instead of epoch {}", welcome.from, welcome.from_epoch, connection->epoch);
  }
  if (status.ok()) {
    if (ConnectionPtr former = LinkedConnection(rank); former != nullptr) {
      CloseConnection(former, Disconnected("{} died: it is back as epoch {}", Name(rank, former->pid), connection->epoch));
    }
    status = MakeLink(connection, welcome, packet);
  }
  if (!status.ok()) {
    // The peer has its link already; it hears why that ends.
    const mapped::Message refused = mapped::Refused{Kind::kInvalidArgument, status.message()};
    CloseConnection(connection, Ok(), &refused);
    return FinishAttempt(rank, status.WithContext(name));
  }
  connection->confirmed = true;
  const mapped::Contribution told = attempts_.at(rank).told;
  connection->announced = told.allocated_bytes;
  mapped::Contribution own = OwnContribution();
  for (const Waiter& waiter : TakeAttempt(rank)) {
    if (own == told) {
      waiter.calls->Resolve(waiter.index, Ok());
    } else {  // this member has grown meanwhile; linked means that the peer has all of it
      connection->growth_waiters.push_back(
          {waiter.calls, waiter.index, own.allocated_bytes, Disconnected("{} died while it was linked", name)});
    }
  }
  Send(connection, mapped::Ready{});
  SendGrowth(connection, own);
}

Status MappedPort::MakeLink(const ConnectionPtr& connection, const mapped::Introduction& introduction, Packet& packet) {
  const Rank rank = introduction.from;
  RETURN_IF_ERROR(options_.observer->OnPeerArriving(rank, introduction.from_epoch));
  RETURN_IF_ERROR(MapZones(connection, rank, {}, introduction.contribution, packet));
  std::array<std::byte*, kZones> slots;
  for (Zone zone : kAllZones) slots[Index(zone)] = options_.window->data() + options_.slot_begin(zone, rank);
  connection->link = std::make_shared<MappedLink>(rank, introduction.from_epoch, options_.window, slots,
                                                  introduction.contribution.allocated_bytes);
  connection->rank = rank;
  connection->epoch = introduction.from_epoch;
  connection->phase = Connection::Phase::kLinked;
  links_[rank] = connection;
  epochs_[rank] = connection->epoch;
  options_.observer->OnLinkUp(connection->link);
  return Ok();
}

Status MappedPort::MapZones(const ConnectionPtr& connection, Rank rank, const ZoneBytes& mapped,
                            const mapped::Contribution& contribution, Packet& packet) {
  if (packet.files_lost) {
    return InvalidArgument("the files of rank {} were not received whole: too many, or more than ulimit -n lets rank {} open",
                           rank, options_.rank);
  }
  std::size_t expected = static_cast<std::size_t>(std::count(contribution.files.begin(), contribution.files.end(), true));
  if (packet.file_count != expected) {
    return InvalidArgument("{} files came with rank {}'s message, not {}", packet.file_count, rank, expected);
  }
  // All are checked before one is mapped.
  std::array<int, kZones> files{-1, -1};
  std::size_t next = 0;
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone);
    std::uint64_t bytes = contribution.allocated_bytes[i];
    if (bytes > options_.max_bytes[i]) {
      return InvalidArgument("rank {} contributes {} of {} memory, slots have {}", rank, SizeText(bytes), ZoneName(zone),
                             SizeText(options_.max_bytes[i]));
    }
    if (bytes < mapped[i]) return InvalidArgument("rank {} shrinks from {} to {}", rank, SizeText(mapped[i]), SizeText(bytes));
    if (!contribution.files[i]) continue;
    files[i] = packet.files[next++].get();
    auto identity = mapped::CheckSharedFile(files[i], bytes, contribution.user_files[i]);
    if (!identity.ok()) return identity.status().WithContext(fmt::format("rank {}, {} memory", rank, ZoneName(zone)));
    if (mapped[i] > 0 && *identity != connection->files[i]) return InvalidArgument("rank {} grows by another file", rank);
    connection->files[i] = *identity;
    if (contribution.user_files[i] && !std::exchange(warned_of_user_files_, true)) {
      LOG(kInfo, "rank {} contributes a file that its user may shrink: accesses beyond its end would then be fatal", rank);
    }
  }
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone);
    std::uint64_t more = contribution.allocated_bytes[i] - mapped[i];
    if (more == 0) continue;
    RETURN_IF_ERROR(options_.window->Map(options_.slot_begin(zone, rank) + mapped[i], more, files[i], mapped[i])
                        .WithContext(fmt::format("rank {}, {} memory", rank, ZoneName(zone))));
  }
  return Ok();
}

void MappedPort::OnRefused(const ConnectionPtr& connection, const mapped::Refused& refused) {
  std::string text = fmt::format("{} refused: {}", Name(connection->rank, connection->pid), refused.reason);
  if (connection->phase == Connection::Phase::kIntroduced) return FinishAttempt(connection->rank, Status(refused.kind, text));
  CloseConnection(connection, Disconnected("{}", text));
}

void MappedPort::OnReady(const ConnectionPtr& connection) {
  connection->confirmed = true;
  for (const Waiter& waiter : std::exchange(connection->waiters, {})) waiter.calls->Resolve(waiter.index, Ok());
}

void MappedPort::OnGrow(const ConnectionPtr& connection, const mapped::Grow& grow, Packet& packet) {
  const ZoneBytes& bytes = grow.contribution.allocated_bytes;
  Status mapped = MapZones(connection, connection->rank, connection->link->allocated_bytes(), grow.contribution, packet);
  if (!mapped.ok()) {
    // Without the new part this end would refuse what the peer's others may do: better no link than half of one.
    const mapped::Message refused = mapped::Refused{Kind::kInvalidArgument, mapped.message()};
    return CloseConnection(
        connection,
        Disconnected("{} has grown, and that can't be mapped: {}", Name(connection->rank, connection->pid), mapped.message()),
        &refused);
  }
  connection->link->Grow(bytes);
  options_.observer->OnPeerGrown(connection->rank, connection->epoch);
  Send(connection, mapped::Grown{bytes});
}

void MappedPort::OnGrown(const ConnectionPtr& connection, const mapped::Grown& grown) {
  std::erase_if(connection->growth_waiters, [&](const GrowthWaiter& waiter) {
    for (std::size_t zone = 0; zone < kZones; ++zone) {
      if (grown.allocated_bytes[zone] < waiter.bytes[zone]) return false;
    }
    waiter.calls->Resolve(waiter.index, Ok());
    return true;
  });
}

void MappedPort::SendGrowth(const ConnectionPtr& connection, const mapped::Contribution& contribution) {
  if (connection->phase != Connection::Phase::kLinked) return;
  if (connection->announced == contribution.allocated_bytes) return;
  connection->announced = contribution.allocated_bytes;
  Send(connection, mapped::Grow{contribution}, OwnFiles(contribution));
}

void MappedPort::Refuse(const ConnectionPtr& connection, Kind kind, const std::string& reason) {
  const mapped::Message refused = mapped::Refused{kind, reason};
  CloseConnection(connection, Ok(), &refused);
}

void MappedPort::Misbehaved(const ConnectionPtr& connection, const std::string& how) {
  if (connection->phase == Connection::Phase::kIntroduced) {
    return FinishAttempt(connection->rank,
                         Disconnected("{} doesn't speak our protocol: {}", Name(connection->rank, connection->pid), how));
  }
  if (connection->phase == Connection::Phase::kLinked) {
    return CloseConnection(connection, Disconnected("{} broke the protocol: {}", Name(connection->rank, connection->pid), how));
  }
  CountStranger(connection, how);
  CloseConnection(connection, Ok());
}

void MappedPort::CountStranger(const ConnectionPtr& connection, std::string_view how) {
  if (strangers_refused_++ > 0) return;
  LOG(kWarn, "a connection to the port of pool {} was no peer (pid {}): {}; others like it are only counted", options_.pool,
      connection->pid, how);
}

void MappedPort::Send(const ConnectionPtr& connection, const mapped::Message& message, std::vector<int> files) {
  connection->outbox.push_back({mapped::EncodeMessage(message), std::move(files)});
  if (connection->flush == 0) Flush(connection);
}

void MappedPort::Flush(const ConnectionPtr& connection) {
  while (!connection->outbox.empty()) {
    const Outgoing& next = connection->outbox.front();
    Status sent = SendPacket(connection->socket.get(), next.bytes, next.files);
    if (IsInUse(sent)) {
      if (connection->outbox.size() > kMaxOutbox) return Misbehaved(connection, "it reads nothing");
      connection->flush = reactor_.CallAt(steady_clock::now() + kFlushPeriod, [this, connection] {
        connection->flush = 0;
        Flush(connection);
      });
      return;
    }
    // A connection that has ended is noticed where it is read.
    if (!sent.ok() && !IsDisconnected(sent)) return Misbehaved(connection, sent.message());
    connection->outbox.pop_front();
  }
}

}  // namespace memfabric::transport
