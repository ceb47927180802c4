// What peers send to a PeerPort, and what becomes of it. Bytes and files of a peer are checked
// here before they count.

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/units.h"
#include "transport/meeting/peer_port.h"

namespace memfabric::transport {
namespace {

constexpr int kMessagesAtOnce = 64;  // then others get their turn
// packets; a peer that asks and asks and reads no answer is given up
constexpr std::size_t kMaxWaiting = 4096;

template <typename... Cases>
struct Match : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Match(Cases...) -> Match<Cases...>;

std::string Name(Rank rank, std::string_view who) { return fmt::format("rank {} ({})", rank, who); }

}  // namespace

void PeerPort::Receive(const ConnectionPtr& connection) {
  // Its own buffer: a message may make us look into another connection.
  std::array<std::byte, meeting::kMaxMessageBytes> buffer;
  for (int i = 0; i < kMessagesAtOnce && connection->phase != Connection::Phase::kClosed; ++i) {
    Packet packet = connection->socket->Receive(buffer);
    if (packet.state == Packet::State::kNothing) return;
    if (packet.state == Packet::State::kEnded) return OnEnded(connection, packet.why);
    if (packet.truncated) return Misbehaved(connection, "its message is longer than any of ours");
    auto message = meeting::ParseMessage(std::span(buffer).first(packet.size_bytes));
    if (IsUnsupported(message.status()) && connection->phase == Connection::Phase::kIntroduced) {
      return FinishAttempt(connection->rank,
                           InvalidArgument("{} speaks {}", Name(connection->rank, connection->who),
                                           message.status().message()));
    }
    if (!message.ok()) return Misbehaved(connection, message.status().message());
    OnMessage(connection, *message, packet);
  }
}

void PeerPort::OnMessage(const ConnectionPtr& connection, const meeting::Message& message,
                         Packet& packet) {
  using Phase = Connection::Phase;
  const Phase phase = connection->phase;
  auto unexpected = [&] {
    Misbehaved(connection, fmt::format("{} at the wrong time", meeting::MessageName(message)));
  };
  std::visit(
      Match{
          [&](const meeting::Hello&) { unexpected(); },
          [&](const meeting::Welcome& welcome) {
            phase == Phase::kIntroduced ? OnWelcome(connection, welcome, packet) : unexpected();
          },
          [&](const meeting::Refused& refused) { OnRefused(connection, refused); },
          [&](const meeting::Duplicate&) {
            if (phase != Phase::kIntroduced) return unexpected();
            Rank rank = connection->rank;
            CloseConnection(connection, Ok());
            RetryConnect(rank, "it is connecting to us");
          },
          [&](const meeting::Ready&) {
            phase == Phase::kLinked && !connection->confirmed ? OnReady(connection) : unexpected();
          },
          [&](const meeting::Grow& grow) {
            phase == Phase::kLinked ? OnGrow(connection, grow, packet) : unexpected();
          },
          [&](const meeting::Grown& grown) {
            phase == Phase::kLinked ? OnGrown(connection, grown.allocated_bytes) : unexpected();
          },
          [&](const meeting::Bye&) {
            phase == Phase::kLinked ? CloseConnection(connection, Ok()) : unexpected();
          },
          [&](const meeting::Data& data) {
            if (phase != Phase::kLinked) return unexpected();
            if (Status taken = connection->link->OnData(
                    data.bytes, std::span(packet.files).first(packet.file_count));
                !taken.ok()) {
              Misbehaved(connection, taken.message());
            } else if (connection->socket->waiting_packets() > kMaxWaiting) {
              Misbehaved(connection, "it reads no answers");
            }
          },
      },
      message);
}

void PeerPort::OnEnded(const ConnectionPtr& connection, const Status& why) {
  if (IsInvalidArgument(why)) return Misbehaved(connection, why.message());
  switch (connection->phase) {
    case Connection::Phase::kIntroduced: {
      // Dead, or closed in favour of something else. The next try will tell: nobody listens for the
      // dead.
      Rank rank = connection->rank;
      if (!why.ok()) {
        const std::string trouble = venue_.Trouble(attempts_.at(rank).address);
        return FinishAttempt(rank,
                             Status(why.kind(), fmt::format("{}: {}{}", Name(rank, connection->who),
                                                            why.message(), trouble)));
      }
      CloseConnection(connection, Ok());
      return RetryConnect(rank, "it closed the connection without an answer");
    }
    case Connection::Phase::kLinked:
      return CloseConnection(connection,
                             Disconnected("{} died: {}", Name(connection->rank, connection->who),
                                          why.ok() ? "its connection ended" : why.message()));
    default: return;
  }
}

Status PeerPort::CheckIntroduction(const meeting::Introduction& introduction) const {
  if (introduction.pool != options_.pool) {
    return InvalidArgument("rank {} is in pool {}, rank {} in pool {}", introduction.from,
                           introduction.pool, options_.rank, options_.pool);
  }
  if (introduction.world_size != options_.world_size) {
    return InvalidArgument("rank {} has world size {}, rank {} has {}", introduction.from,
                           introduction.world_size, options_.rank, options_.world_size);
  }
  for (Zone zone : kAllZones) {
    std::uint64_t theirs = introduction.max_bytes[Index(zone)];
    std::uint64_t ours = options_.zones.max_bytes[Index(zone)];
    if (theirs == ours) continue;
    return InvalidArgument("rank {} has {} slots of {} bytes, rank {} of {} bytes",
                           introduction.from, ZoneName(zone), theirs, options_.rank, ours);
  }
  if (introduction.from >= options_.world_size || introduction.from == options_.rank) {
    return InvalidArgument("rank {} can't be a peer of rank {} in a pool of {}", introduction.from,
                           options_.rank, options_.world_size);
  }
  return Ok();
}

void PeerPort::OnCaller(std::shared_ptr<MessageSocket> socket, std::string who,
                        const meeting::Hello& hello, Packet& packet) {
  auto connection = std::make_shared<Connection>();
  connection->socket = std::move(socket);
  connection->who = std::move(who);
  if (!AddConnection(connection).ok()) return connection->socket->Close();
  OnHello(connection, hello, packet);
  if (connection->phase == Connection::Phase::kLinked) Receive(connection);  // what came behind it
}

void PeerPort::OnHello(const ConnectionPtr& connection, const meeting::Hello& hello,
                       Packet& packet) {
  const Rank rank = hello.from;
  if (Status fits = CheckIntroduction(hello); !fits.ok())
    return Refuse(connection, Kind::kInvalidArgument, fits.message());
  if (auto known = epochs_.find(rank); known != epochs_.end() && hello.from_epoch < known->second) {
    return Refuse(connection, Kind::kAlreadyExists,
                  fmt::format("epoch {} of rank {} is over: epoch {} has been linked",
                              hello.from_epoch, rank, known->second));
  }
  const meeting::Message duplicate = meeting::Duplicate{};
  if (ConnectionPtr former = LinkedConnection(rank); former != nullptr) {
    if (former->epoch == hello.from_epoch) return CloseConnection(connection, Ok(), &duplicate);
    CloseConnection(former, Disconnected("{} died: it is back as epoch {}", Name(rank, former->who),
                                         hello.from_epoch));
  }
  // After the above, which may have sent callers back to trying.
  if (auto found = attempts_.find(rank); found != attempts_.end()) {
    std::uint64_t tried = found->second.address.epoch;
    if (hello.from_epoch < tried) {
      return Refuse(connection, Kind::kAlreadyExists,
                    fmt::format("epoch {} of rank {} is over: there is an epoch {}",
                                hello.from_epoch, rank, tried));
    }
    if (hello.from_epoch > tried) {
      FinishAttempt(rank, Disconnected("rank {} in epoch {} is gone: it is back as epoch {}", rank,
                                       tried, hello.from_epoch));
    } else if (found->second.connection != nullptr && options_.rank < rank) {
      return CloseConnection(connection, Ok(), &duplicate);
    } else {
      connection->waiters = TakeAttempt(rank);
    }
  }
  if (Status linked = MakeLink(connection, hello, packet); !linked.ok()) {
    for (const Waiter& waiter : std::exchange(connection->waiters, {}))
      waiter.calls->Resolve(waiter.index, linked);
    return Refuse(connection,
                  IsAlreadyExists(linked) ? Kind::kAlreadyExists : Kind::kInvalidArgument,
                  linked.message());
  }
  PeerOffer own = backend_->Offer(rank);
  connection->introduced = connection->announced = own.bytes.allocated_bytes;
  Send(connection, meeting::Welcome{Introduce(rank, connection->epoch, own.bytes)}, own);
}

void PeerPort::OnWelcome(const ConnectionPtr& connection, const meeting::Welcome& welcome,
                         Packet& packet) {
  const Rank rank = connection->rank;
  const std::string name = Name(rank, connection->who);
  Status status = CheckIntroduction(welcome);
  if (status.ok() && (welcome.from != rank || welcome.from_epoch != connection->epoch ||
                      welcome.to != options_.rank || welcome.to_epoch != options_.epoch)) {
    status = Disconnected("rank {} in epoch {} answered instead of epoch {}", welcome.from,
                          welcome.from_epoch, connection->epoch);
  }
  if (status.ok()) {
    if (ConnectionPtr former = LinkedConnection(rank); former != nullptr) {
      CloseConnection(former, Disconnected("{} died: it is back as epoch {}",
                                           Name(rank, former->who), connection->epoch));
    }
    if (connection->phase != Connection::Phase::kIntroduced)
      return;  // a caller who waited for the former looks for a later life
    status = MakeLink(connection, welcome, packet);
  }
  if (!status.ok()) {
    // The peer has its link already; it hears why that ends.
    const meeting::Message refused = meeting::Refused{Kind::kInvalidArgument, status.message()};
    CloseConnection(connection, Ok(), &refused);
    return FinishAttempt(rank, status.WithContext(name));
  }
  connection->confirmed = true;
  connection->link->OnConfirmed();
  const meeting::Contribution told = attempts_.at(rank).told;
  connection->introduced = connection->announced = connection->mapped = told.allocated_bytes;
  PeerOffer own = backend_->Offer(rank);
  for (const Waiter& waiter : TakeAttempt(rank)) {
    if (own.bytes.allocated_bytes == told.allocated_bytes) {
      waiter.calls->Resolve(waiter.index, Ok());
    } else {  // this member has grown meanwhile; linked means that the peer has all of it
      connection->growth_waiters.push_back({waiter.calls, waiter.index, own.bytes.allocated_bytes,
                                            Disconnected("{} died while it was linked", name)});
    }
  }
  connection->socket->Send(meeting::EncodeMessage(meeting::Ready{}));
  SendGrowth(connection, own);
}

Status PeerPort::MakeLink(const ConnectionPtr& connection,
                          const meeting::Introduction& introduction, Packet& packet) {
  const Rank rank = introduction.from;
  ASSIGN_OR_RETURN(auto contribution, TakeContribution(rank, introduction.from_epoch, {},
                                                       introduction.contribution, packet));
  RETURN_IF_ERROR(options_.observer->OnPeerArriving(rank, introduction.from_epoch));
  ASSIGN_OR_RETURN(connection->link, backend_->MakeLink(contribution, connection->socket));
  connection->rank = rank;
  connection->epoch = introduction.from_epoch;
  connection->phase = Connection::Phase::kLinked;
  links_[rank] = connection;
  epochs_[rank] = connection->epoch;
  options_.observer->OnLinkUp(connection->link);
  return Ok();
}

Result<PeerContribution> PeerPort::TakeContribution(Rank rank, std::uint64_t epoch,
                                                    const ZoneBytes& former,
                                                    const meeting::Contribution& contribution,
                                                    Packet& packet) const {
  if (packet.files_lost) {
    return InvalidArgument(
        "the files of rank {} were not received whole: too many, or more than ulimit -n lets rank "
        "{} open",
        rank, options_.rank);
  }
  PeerContribution taken{rank, epoch, contribution, {}};
  std::size_t next = 0;
  for (Zone zone : kAllZones) {
    std::size_t i = Index(zone);
    std::uint64_t bytes = contribution.allocated_bytes[i];
    if (bytes > options_.zones.max_bytes[i]) {
      return InvalidArgument("rank {} contributes {} of {} memory, slots have {}", rank,
                             SizeText(bytes), ZoneName(zone),
                             SizeText(options_.zones.max_bytes[i]));
    }
    if (bytes < former[i])
      return InvalidArgument("rank {} shrinks from {} to {}", rank, SizeText(former[i]),
                             SizeText(bytes));
    if (contribution.files[i] != (backend_->shares_files() && bytes > 0)) {
      return InvalidArgument("rank {} contributes {} of {} memory with{} a file", rank,
                             SizeText(bytes), ZoneName(zone), contribution.files[i] ? "" : "out");
    }
    if (!contribution.files[i]) continue;
    if (next == packet.file_count)
      return InvalidArgument("fewer files came than rank {}'s message says", rank);
    taken.files[i] = std::move(packet.files[next++]);
  }
  if (next != packet.file_count)
    return InvalidArgument("more files came than rank {}'s message says", rank);
  return taken;
}

void PeerPort::OnRefused(const ConnectionPtr& connection, const meeting::Refused& refused) {
  std::string text =
      fmt::format("{} refused: {}", Name(connection->rank, connection->who), refused.reason);
  if (connection->phase == Connection::Phase::kIntroduced && refused.kind == Kind::kInUse) {
    const Rank rank = connection->rank;
    CloseConnection(connection, Ok());
    return RetryConnect(rank, refused.reason, attempts_.at(rank).room_backoff);
  }
  if (connection->phase == Connection::Phase::kIntroduced)
    return FinishAttempt(connection->rank, Status(refused.kind, text));
  CloseConnection(connection, Disconnected("{}", text));
}

void PeerPort::OnReady(const ConnectionPtr& connection) {
  connection->confirmed = true;
  connection->link->OnConfirmed();
  OnGrown(connection, connection->introduced);
  for (const Waiter& waiter : std::exchange(connection->waiters, {}))
    waiter.calls->Resolve(waiter.index, Ok());
}

void PeerPort::OnGrow(const ConnectionPtr& connection, const meeting::Grow& grow, Packet& packet) {
  ZoneAccess* zones = connection->link->zones();
  auto taken = TakeContribution(connection->rank, connection->epoch,
                                zones == nullptr ? ZoneBytes{} : zones->allocated_bytes(),
                                grow.contribution, packet);
  Status grown = taken.ok() ? connection->link->Grow(*taken) : taken.status();
  if (!grown.ok()) {
    // Without the new part this end would refuse what the peer's others may do: better no link than
    // half of one.
    const meeting::Message refused = meeting::Refused{Kind::kInvalidArgument, grown.message()};
    return CloseConnection(connection,
                           Disconnected("{} has grown, and that can't be used here: {}",
                                        Name(connection->rank, connection->who), grown.message()),
                           &refused);
  }
  options_.observer->OnPeerGrown(connection->rank, connection->epoch);
  connection->socket->Send(
      meeting::EncodeMessage(meeting::Grown{grow.contribution.allocated_bytes}));
}

void PeerPort::OnGrown(const ConnectionPtr& connection, const ZoneBytes& bytes) {
  connection->mapped = bytes;
  std::erase_if(connection->growth_waiters, [&](const GrowthWaiter& waiter) {
    if (!Covers(bytes, waiter.bytes)) return false;
    waiter.calls->Resolve(waiter.index, Ok());
    return true;
  });
}

void PeerPort::SendGrowth(const ConnectionPtr& connection, const PeerOffer& offer) {
  if (connection->phase != Connection::Phase::kLinked) return;
  if (connection->announced == offer.bytes.allocated_bytes) return;
  connection->announced = offer.bytes.allocated_bytes;
  Send(connection, meeting::Grow{offer.bytes}, offer);
}

void PeerPort::Refuse(const ConnectionPtr& connection, Kind kind, const std::string& reason) {
  const meeting::Message refused = meeting::Refused{kind, reason};
  CloseConnection(connection, Ok(), &refused);
}

void PeerPort::Misbehaved(const ConnectionPtr& connection, const std::string& how) {
  if (connection->phase == Connection::Phase::kIntroduced) {
    return FinishAttempt(connection->rank,
                         Disconnected("{} doesn't speak our protocol: {}",
                                      Name(connection->rank, connection->who), how));
  }
  if (connection->phase == Connection::Phase::kLinked) {
    return CloseConnection(connection, Disconnected("{} broke the protocol: {}",
                                                    Name(connection->rank, connection->who), how));
  }
}

}  // namespace memfabric::transport
