#include "transport/meeting/peer_port.h"

#include <algorithm>

#include "base/log.h"

namespace memfabric::transport {
namespace {

using std::chrono::steady_clock;

std::vector<int> FilesOf(const PeerOffer& offer) {
  std::vector<int> files;
  for (std::size_t zone = 0; zone < kZones; ++zone) {
    if (offer.bytes.files[zone]) files.push_back(offer.files[zone]);
  }
  return files;
}

}  // namespace

Result<std::unique_ptr<Port>> PeerPort::Open(PeerListeners& listeners, const PortOptions& options,
                                             std::unique_ptr<PeerBackend> backend) {
  auto choose = [&](const auto& open) -> Result<PeerListeners::Choice> {
    if (!open.empty()) return PeerListeners::Choice{open.front(), nullptr};
    ASSIGN_OR_RETURN(auto venue, OpenUnixVenue(listeners.reactor()));
    return PeerListeners::Choice{nullptr, std::move(venue)};
  };
  return Open(listeners, choose, options, std::move(backend));
}

Result<std::unique_ptr<Port>> PeerPort::Open(PeerListeners& listeners,
                                             const PeerListeners::Choose& choose,
                                             const PortOptions& options,
                                             std::unique_ptr<PeerBackend> backend) {
  RETURN_IF_ERROR(Check(options));
  ASSIGN_OR_RETURN(PeerListener * listener, listeners.Take(choose));
  auto port = std::make_unique<PeerPort>(listeners, *listener, options, std::move(backend));
  ASSIGN_OR_RETURN(port->advert_, listener->Join(port->Self(), [raw = port.get()](auto&&... call) {
    raw->OnCaller(std::forward<decltype(call)>(call)...);
  }));
  return std::unique_ptr<Port>(std::move(port));
}

Status PeerPort::Check(const PortOptions& options) {
  if (options.pool.size() > meeting::kMaxPoolNameBytes ||
      options.pool.find('\0') != std::string::npos) {
    return InvalidArgument("a pool's name has at most {} bytes, \"{}\" has {}",
                           meeting::kMaxPoolNameBytes, options.pool, options.pool.size());
  }
  if (options.rank >= options.world_size) {
    return InvalidArgument("rank {} is not below the world size {}", options.rank,
                           options.world_size);
  }
  return options.observer != nullptr ? Ok() : InvalidArgument("a port needs an observer");
}

PeerPort::PeerPort(PeerListeners& listeners, PeerListener& listener, const PortOptions& options,
                   std::unique_ptr<PeerBackend> backend)
    : reactor_(listeners.reactor()),
      listeners_(listeners),
      listener_(listener),
      venue_(listener.venue()),
      options_(options),
      backend_(std::move(backend)) {}

Status PeerPort::CanReach(const MemberAddress& peer, const std::string& host) {
  if (peer.host != host)
    return Unsupported("{} is on another host than this process ({})", peer.ToString(), host);
  auto advert = meeting::ParseAdvert(peer.advert);
  return advert.ok() ? Ok() : Unsupported("{}: {}", peer.ToString(), advert.status().message());
}

PeerPort::~PeerPort() {
  reactor_.RunAndWait([&] { Close(); });  // behind everything that calls of this port have posted
  listeners_.Release(listener_);
}

std::vector<Status> PeerPort::ConnectAll(std::span<const MemberAddress> peers, Deadline deadline) {
  CHECK(!reactor_.OnThread());
  std::vector<std::string> names;
  std::vector<Waiter> waiters;
  for (const MemberAddress& peer : peers) names.push_back(peer.ToString());
  auto calls = std::make_shared<PendingCalls>(std::move(names));
  for (std::size_t i = 0; i < peers.size(); ++i) waiters.push_back({calls, i, peers[i]});
  reactor_.Post([this, waiters = std::move(waiters)] {
    for (const Waiter& waiter : waiters) StartConnect(waiter);
  });
  bool gave_up = false;
  auto statuses = calls->Wait(deadline, gave_up);
  if (gave_up) reactor_.Post([this, calls] { Abandon(*calls); });
  for (std::size_t i = 0; i < peers.size(); ++i)
    if (IsDeadlineExceeded(statuses[i]))
      statuses[i] = DeadlineExceeded("{}{}", statuses[i].message(), venue_.Trouble(peers[i]));
  return statuses;
}

Status PeerPort::Announce(Deadline deadline) {
  CHECK(!reactor_.OnThread());
  // The first call is the sweep over the links itself; it adds one for each.
  auto calls = std::make_shared<PendingCalls>(std::vector<std::string>{"this process's reactor"});
  reactor_.Post([this, calls] { StartAnnounce(calls); });
  bool gave_up = false;
  auto statuses = calls->Wait(deadline, gave_up);
  if (!gave_up) return Ok();
  reactor_.Post([this, calls] { Abandon(*calls); });
  std::string text;
  Kind kind = Kind::kDeadlineExceeded;
  for (const Status& status : statuses) {
    if (status.ok()) continue;
    kind = status.kind();
    text += (text.empty() ? "" : "; ") + status.message();
  }
  return Status(kind, "the growth is not mapped everywhere: " + text);
}

void PeerPort::Close() {
  closing_ = true;
  if (!advert_.empty()) listener_.Leave(Self());
  while (!attempts_.empty())
    FinishAttempt(attempts_.begin()->first, Disconnected("this member has left"));
  const meeting::Message bye = meeting::Bye{};
  while (!connections_.empty()) {
    ConnectionPtr connection = *connections_.begin();
    bool linked = connection->phase == Connection::Phase::kLinked;
    CloseConnection(connection, Disconnected("this member has left"), linked ? &bye : nullptr);
  }
}

PeerPort::ConnectionPtr PeerPort::LinkedConnection(Rank rank) {
  auto found = links_.find(rank);
  if (found == links_.end()) return nullptr;
  // Work on what the peer has said by now: it may have left, or died, and come back before we
  // looked.
  ConnectionPtr connection = found->second;
  Receive(connection);
  return connection->phase == Connection::Phase::kLinked ? connection : nullptr;
}

void PeerPort::StartConnect(const Waiter& waiter) {
  const MemberAddress& address = waiter.address;
  auto answer = [&](const Status& status) { waiter.calls->Resolve(waiter.index, status); };
  if (closing_) return answer(Disconnected("this member has left"));
  if (address.pool != options_.pool) {
    return answer(InvalidArgument("{} is in pool {}, not in {}", address.ToString(), address.pool,
                                  options_.pool));
  }
  if (address.rank >= options_.world_size || address.rank == options_.rank) {
    return answer(InvalidArgument("{} can't be a peer of rank {} in a pool of {}",
                                  address.ToString(), options_.rank, options_.world_size));
  }
  if (Status suits = venue_.CheckAdvert(address); !suits.ok()) return answer(suits);
  if (ConnectionPtr link = LinkedConnection(address.rank);
      link != nullptr && link->epoch == address.epoch) {
    if (link->confirmed) return answer(Ok());
    link->waiters.push_back(waiter);
    return;
  }
  if (auto known = epochs_.find(address.rank);
      known != epochs_.end() && address.epoch < known->second) {
    return answer(Disconnected("{} in epoch {} is gone: epoch {} of that rank has been linked",
                               address.ToString(), address.epoch, known->second));
  }
  auto found = attempts_.find(address.rank);
  if (found != attempts_.end()) {
    const MemberAddress& tried = found->second.address;
    if (tried.epoch == address.epoch && tried.advert == address.advert) {
      found->second.waiters.push_back(waiter);
      return;
    }
    if (address.epoch < tried.epoch) {
      return answer(Disconnected("{} in epoch {} is gone: there is an epoch {}", address.ToString(),
                                 address.epoch, tried.epoch));
    }
    FinishAttempt(address.rank, Disconnected("{} in epoch {} is gone: it is back as epoch {}",
                                             tried.ToString(), tried.epoch, address.epoch));
  }
  Attempt& attempt = attempts_[address.rank];
  attempt.address = address;
  attempt.waiters.push_back(waiter);
  TryConnect(address.rank);
}

void PeerPort::TryConnect(Rank rank) {
  Attempt& attempt = attempts_.at(rank);
  const std::string name = attempt.address.ToString();
  PeerOffer offer = backend_->Offer(rank);
  attempt.told = offer.bytes;
  auto peer = venue_.Connect(
      attempt.address, {Introduce(rank, attempt.address.epoch, attempt.told)}, FilesOf(offer));
  if (IsInUse(peer.status())) return RetryConnect(rank, peer.status().message());
  if (peer.ok() && !peer->trusted.ok()) peer = peer->trusted;
  if (!peer.ok()) return FinishAttempt(rank, peer.status().WithContext(name));
  auto connection = std::make_shared<Connection>();
  connection->socket = std::move(peer->socket);
  connection->phase = Connection::Phase::kIntroduced;
  connection->who = std::move(peer->who);
  connection->rank = rank;
  connection->epoch = attempt.address.epoch;
  if (Status added = AddConnection(connection); !added.ok()) return FinishAttempt(rank, added);
  attempt.connection = std::move(connection);
}

void PeerPort::RetryConnect(Rank rank, std::string_view note, Backoff& backoff) {
  Attempt& attempt = attempts_.at(rank);
  attempt.connection = nullptr;
  for (const Waiter& waiter : attempt.waiters) waiter.calls->Note(waiter.index, note);
  attempt.retry = reactor_.CallAt(steady_clock::now() + backoff.Next(), [this, rank] {
    attempts_.at(rank).retry = 0;
    TryConnect(rank);
  });
}

std::vector<PeerPort::Waiter> PeerPort::TakeAttempt(Rank rank) {
  auto found = attempts_.find(rank);
  if (found == attempts_.end()) return {};
  Attempt attempt = std::move(found->second);
  attempts_.erase(found);
  reactor_.Cancel(attempt.retry);
  // The link, when it stands by now, is no longer the attempt's.
  if (attempt.connection != nullptr &&
      attempt.connection->phase == Connection::Phase::kIntroduced) {
    CloseConnection(attempt.connection, Ok());
  }
  return std::move(attempt.waiters);
}

void PeerPort::FinishAttempt(Rank rank, const Status& status) {
  for (const Waiter& waiter : TakeAttempt(rank)) waiter.calls->Resolve(waiter.index, status);
}

void PeerPort::Abandon(const PendingCalls& calls) {
  auto given_up = [&](const auto& waiter) { return waiter.calls.get() == &calls; };
  std::vector<Rank> unwanted;
  for (auto& [rank, attempt] : attempts_) {
    std::erase_if(attempt.waiters, given_up);
    if (attempt.waiters.empty()) unwanted.push_back(rank);
  }
  for (Rank rank : unwanted) TakeAttempt(rank);
  for (auto& [rank, connection] : links_) {
    std::erase_if(connection->waiters, given_up);
    std::erase_if(connection->growth_waiters, given_up);
  }
}

void PeerPort::StartAnnounce(const std::shared_ptr<PendingCalls>& calls) {
  // Sending may close a connection; the table changes then.
  std::vector<ConnectionPtr> behind;
  for (auto& [rank, connection] : links_) {
    PeerOffer offer = backend_->Offer(rank);
    if (Covers(connection->mapped, offer.bytes.allocated_bytes)) continue;
    std::size_t index = calls->Add(fmt::format("rank {} ({})", rank, connection->who));
    connection->growth_waiters.push_back({calls, index, offer.bytes.allocated_bytes, Ok()});
    behind.push_back(connection);
  }
  for (const ConnectionPtr& connection : behind)
    SendGrowth(connection, backend_->Offer(connection->rank));
  calls->Resolve(0, Ok());
}

Status PeerPort::AddConnection(const ConnectionPtr& connection) {
  RETURN_IF_ERROR(connection->socket->Watch([this, connection](bool) { Receive(connection); }));
  connections_.insert(connection);
  return Ok();
}

void PeerPort::CloseConnection(const ConnectionPtr& connection, const Status& why,
                               const meeting::Message* last_words) {
  auto phase = std::exchange(connection->phase, Connection::Phase::kClosed);
  if (phase == Connection::Phase::kClosed) return;
  if (last_words != nullptr) connection->socket->Send(meeting::EncodeMessage(*last_words));
  connection->socket->Close();
  connections_.erase(connection);
  if (phase != Connection::Phase::kLinked) return;

  if (auto found = links_.find(connection->rank);
      found != links_.end() && found->second == connection)
    links_.erase(found);
  connection->link->MarkDown(why.ok() ? Disconnected("rank {} has left", connection->rank) : why);
  if (!closing_) options_.observer->OnLinkDown(connection->rank, connection->epoch, why);
  for (const GrowthWaiter& waiter : std::exchange(connection->growth_waiters, {})) {
    waiter.calls->Resolve(waiter.index, waiter.if_gone);
  }
  for (const Waiter& waiter : std::exchange(connection->waiters, {})) StartConnect(waiter);
}

bool PeerPort::Covers(const ZoneBytes& have, const ZoneBytes& want) {
  return std::equal(have.begin(), have.end(), want.begin(), std::greater_equal<>());
}

void PeerPort::Send(const ConnectionPtr& connection, const meeting::Message& message,
                    const PeerOffer& offer) {
  connection->socket->Send(meeting::EncodeMessage(message), FilesOf(offer));
}

meeting::Introduction PeerPort::Introduce(Rank to, std::uint64_t to_epoch,
                                          const meeting::Contribution& contribution) const {
  meeting::Introduction introduction;
  introduction.pool = options_.pool;
  introduction.from = options_.rank;
  introduction.to = to;
  introduction.from_epoch = options_.epoch;
  introduction.to_epoch = to_epoch;
  introduction.world_size = options_.world_size;
  introduction.max_bytes = options_.zones.max_bytes;
  introduction.contribution = contribution;
  return introduction;
}

}  // namespace memfabric::transport
