#include "trans/peers.h"

#include <algorithm>

#include "base/log.h"
#include "base/wait.h"
#include "runtime/presence.h"
#include "store/recipes/records.h"
#include "trans/config.h"
#include "trans/protocol.h"

namespace memfabric::trans {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// docs/contract/python.md §4: a transfer to a peer that can't be reached ends within 2 s
constexpr milliseconds kLinkTimeout{2000};
constexpr milliseconds kReadTimeout{500};  // to see whether a peer that died is back

Deadline Within(milliseconds period, Deadline deadline) {
  return std::min<TimePoint>(deadline, steady_clock::now() + period);
}

// A connection on this host ends with its process, one over the network maybe without.
bool WithinHost(const transport::Transport& transport) {
  return transport.capabilities().same_host;
}

}  // namespace

EnginePeers::EnginePeers(std::span<const std::unique_ptr<transport::Transport>> transports,
                         bool own_directory, UserCallback<std::string>& peer_down)
    : own_directory_(own_directory),
      timeout_(PeerTimeout()),
      peer_down_(peer_down),
      away_(NotStarted("the engine is not ready")) {
  for (const auto& transport : transports) {
    if (transport->capabilities().registered)
      doors_.push_back(std::make_unique<Observer>(*this, *transport, doors_.size()));
  }
}

EnginePeers::~EnginePeers() { Shut(); }

Status EnginePeers::Open(transport::PortOptions port) {
  {
    std::lock_guard lock(mutex_);
    own_member_ = port.rank;
    pool_ = port.pool;
  }
  for (const auto& door : doors_) {
    port.observer = door.get();
    ASSIGN_OR_RETURN(auto opened, door->transport.Open(port));
    std::lock_guard lock(mutex_);
    door->port = std::move(opened);
  }
  std::lock_guard lock(mutex_);
  away_ = Ok();
  return Ok();
}

std::vector<std::pair<std::string, std::string>> EnginePeers::Adverts() const {
  std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, std::string>> adverts;
  for (const auto& door : doors_) {
    if (door->port != nullptr) adverts.emplace_back(door->transport.name(), door->port->advert());
  }
  return adverts;
}

void EnginePeers::Close(const Status& why) {
  std::vector<std::shared_ptr<transport::Port>> ports;
  std::map<std::pair<std::size_t, Rank>, std::shared_ptr<transport::Link>> links;
  {
    std::lock_guard lock(mutex_);
    away_ = why;
    for (const auto& door : doors_) ports.push_back(std::exchange(door->port, nullptr));
    changed_.notify_all();
  }
  ports.clear();  // says goodbye; calls that connect over one keep it until they have ended
  std::unordered_map<std::string, RoutePtr> routes;
  std::lock_guard lock(mutex_);
  std::swap(links, links_);
  std::unique_lock routes_lock(routes_mutex_);
  std::swap(routes, routes_);
}

void EnginePeers::Shut() {
  Close(NotFound("the engine has been destroyed"));
  std::map<std::string, PeerPtr> peers;
  std::unique_ptr<store::Directory> everybody;
  std::lock_guard lock(mutex_);
  std::swap(peers, peers_);
  std::swap(everybody, everybody_);
}

RoutePtr EnginePeers::RouteTo(const std::string& name) const {
  std::shared_lock lock(routes_mutex_);
  auto found = routes_.find(name);
  return found == routes_.end() ? nullptr : found->second;
}

Result<RoutePtr> EnginePeers::Find(Job& job, const std::string& name, Deadline deadline) {
  if (RoutePtr route = RouteTo(name); route != nullptr) return route;
  std::unique_lock lock(mutex_);
  RETURN_IF_ERROR(Status(away_));
  PeerPtr& entry = peers_[name];
  if (entry == nullptr) {
    entry = std::make_shared<Peer>();
    entry->name = name;
  }
  PeerPtr peer = entry;
  // One of the callers finds it, the others wait for that.
  Status waited = WaitUntil(lock, changed_, deadline, [&] { return !peer->busy || !away_.ok(); });
  if (IsDeadlineExceeded(waited))
    return Disconnected("engine '{}' could not be linked in time", name);
  RETURN_IF_ERROR(waited);
  RETURN_IF_ERROR(Status(away_));
  if (RoutePtr route = RouteTo(name); route != nullptr) return route;
  peer->busy = true;
  lock.unlock();
  Status located = Locate(job, *peer, deadline);
  lock.lock();
  peer->busy = false;
  changed_.notify_all();
  if (located.ok()) {
    if (RoutePtr route = RouteTo(name); route != nullptr) return route;
    return Disconnected("engine '{}' was linked and lost at once", name);
  }
  if (peer->record.has_value() || peer->linked_epoch > 0) return located;
  // Nobody of that name: what was made for it goes, without the mutex.
  if (auto found = peers_.find(name); found != peers_.end() && found->second == peer)
    peers_.erase(found);
  lock.unlock();
  return located;
}

Status EnginePeers::Locate(Job& job, Peer& peer, Deadline deadline) {
  if (peer.directory == nullptr) RETURN_IF_ERROR(Follow(job, peer, deadline));
  bool read_again = false;
  std::unique_lock lock(mutex_);
  for (;;) {
    RETURN_IF_ERROR(Status(away_));
    std::optional<store::EngineRecord> record = peer.record;
    if (!record.has_value() || record->epoch() <= peer.dead_epoch) {
      // it was there and is gone: no use to wait, unless it is back and the watch is late
      if (peer.linked_epoch > 0) {
        if (std::exchange(read_again, true)) return peer.why_dead;
        lock.unlock();
        Status read = ReadAgain(peer, Within(kReadTimeout, deadline));
        lock.lock();
        if (!read.ok()) return peer.why_dead;
        continue;
      }
      Status waited = WaitUntil(lock, changed_, deadline, [&] {
        return !away_.ok() || (peer.record.has_value() && peer.record->epoch() > peer.dead_epoch);
      });
      if (IsDeadlineExceeded(waited)) {
        if (!peer.why_dead.ok()) return peer.why_dead;
        return Disconnected(
            "no engine '{}' has appeared within {} s: is it running, with the same store?",
            peer.name, timeout_.count());
      }
      RETURN_IF_ERROR(waited);
      continue;
    }
    lock.unlock();
    auto route = Link(*record, Within(kLinkTimeout, deadline));
    lock.lock();
    if (IsDeadlineExceeded(route.status()))
      return Disconnected("engine '{}' doesn't answer: {}", peer.name, route.status().message());
    if (IsDisconnected(route.status())) {
      peer.dead_epoch = std::max(peer.dead_epoch, record->epoch());
      peer.why_dead = Disconnected("engine '{}' is gone: {}", peer.name, route.status().message());
      continue;
    }
    if (!route.ok()) return route.status().WithContext(fmt::format("engine '{}'", peer.name));
    // It may be down again by now: then its OnLinkDown found no route to take away.
    for (const auto& link : route->links) {
      if (!link->Flush(TimePoint::max()).ok())
        return Disconnected("engine '{}' was linked and lost at once", peer.name);
    }
    peer.linked_epoch = route->epoch;
    names_[route->member] = {peer.name, route->epoch};
    std::unique_lock routes_lock(routes_mutex_);
    routes_[peer.name] = std::make_shared<const Route>(*std::move(route));
    return Ok();
  }
}

Status EnginePeers::Follow(Job& job, Peer& peer, Deadline deadline) {
  peer.client = &job.client();
  peer.prefix = job.keys().Engine(peer.name);
  if (own_directory_) {
    if (peer.own_client == nullptr) {
      auto address = ParseHostPort(peer.name);
      if (!address.ok())
        return InvalidArgument(
            "without a shared store a peer is named by its address, ip:port, which '{}' isn't: {}",
            peer.name, address.status().message());
      StoreUrl url;
      url.endpoints = {*address};
      auto client = store::Client::Connect(url, {.tls = job.tls()}, deadline);
      if (IsDeadlineExceeded(client.status()))
        return Disconnected("no engine '{}' has appeared within {} s: {}", peer.name,
                            timeout_.count(), client.status().message());
      if (!client.ok()) return client.status().WithContext(fmt::format("engine '{}'", peer.name));
      peer.own_client = *std::move(client);
    }
    peer.client = peer.own_client.get();
    peer.prefix = store::Keys("").Engines();  // whatever name of its address it uses itself
  }
  store::Directory::Listener listener;
  listener.on_put = [this, &peer](const store::KeyValue& entry) {
    auto record = store::DecodeEngineRecord(entry);
    if (record.ok()) {
      OnRecord(peer, *record);
    } else {
      LOG(kWarn, "{}", record.status().message());
    }
  };
  listener.on_removed = [this, &peer](const store::KeyValue& entry) {
    auto record = store::DecodeEngineRecord(entry);
    if (record.ok()) OnRecordRemoved(peer.name, record->member(), record->epoch());
  };
  auto directory = store::Directory::Follow(*peer.client, peer.prefix, std::move(listener),
                                            SteadyClock(), deadline);
  if (!directory.ok())
    return directory.status().WithContext(fmt::format("looking for engine '{}'", peer.name));
  peer.directory = *std::move(directory);
  return Ok();
}

Status EnginePeers::ReadAgain(Peer& peer, Deadline deadline) {
  ASSIGN_OR_RETURN(auto snapshot, peer.client->GetPrefix(peer.prefix, deadline));
  for (const auto& entry : snapshot.entries) {
    ASSIGN_OR_RETURN(auto record, store::DecodeEngineRecord(entry));
    OnRecord(peer, record);
  }
  return Ok();
}

Status EnginePeers::FollowAll(Job& job, Deadline deadline) {
  {
    std::lock_guard lock(mutex_);
    if (own_directory_ || everybody_ != nullptr) return Ok();
  }
  store::Directory::Listener listener;
  listener.on_put = [this](const store::KeyValue& entry) {
    auto record = store::DecodeEngineRecord(entry);
    if (!record.ok()) return;
    std::lock_guard lock(mutex_);
    names_[record->member()] = {record->unique_id(), record->epoch()};
    auto lost = lost_.find(record->unique_id());
    if (lost == lost_.end() || lost->second >= record->epoch()) return;
    TellDown(lost->first, lost->second);  // it is back as a new one
    lost_.erase(lost);
  };
  listener.on_removed = [this](const store::KeyValue& entry) {
    auto record = store::DecodeEngineRecord(entry);
    if (record.ok()) OnRecordRemoved(record->unique_id(), record->member(), record->epoch());
  };
  ASSIGN_OR_RETURN(auto directory,
                   store::Directory::Follow(job.client(), job.keys().Engines(), std::move(listener),
                                            SteadyClock(), deadline));
  std::lock_guard lock(mutex_);
  if (everybody_ == nullptr) std::swap(everybody_, directory);
  return Ok();
}

Result<Route> EnginePeers::Link(const store::EngineRecord& record, Deadline deadline) {
  if (record.protocol() != kProtocol)
    return Unsupported("it speaks protocol {} of engines, this one {}", record.protocol(),
                       kProtocol);
  if (record.member() == own_member_)
    return InvalidArgument(
        "it has drawn the member number of this engine, {}: start one of the two again",
        own_member_);
  Route route;
  route.member = record.member();
  route.epoch = record.epoch();
  std::vector<transport::Way> ways;
  for (const auto& door : doors_)
    ways.push_back({&door->transport, AddressOf(pool_, record.member(), record, door->transport)});
  Status worst;
  std::string refusals;
  for (std::size_t i = 0; i < doors_.size(); ++i) {
    Observer& door = *doors_[i];
    const auto& address = ways[i].address;
    Status reachable = address.advert.empty() ? Unsupported("its record has no address for it")
                                              : door.transport.CanReach(address);
    if (!reachable.ok()) {
      refusals += fmt::format("{}{}: {}", refusals.empty() ? "" : "; ", door.transport.name(),
                              reachable.message());
      continue;
    }
    std::shared_ptr<transport::Port> port;
    {
      std::lock_guard lock(mutex_);
      port = door.port;
    }
    if (port == nullptr) continue;
    Status connected = port->Connect(address, deadline);
    if (connected.ok()) {
      std::lock_guard lock(mutex_);
      auto link = links_.find({i, route.member});
      if (link != links_.end() && link->second->epoch() == route.epoch) {
        route.links.push_back(link->second);
        if (link->second->registered()->reaches_all()) return route;
        continue;
      }
    }
    if (connected.ok())
      connected =
          Disconnected("pid {} on host {} was linked and lost", record.pid(), record.host_name());
    connected = detours_.Consider(connected, address, std::span(ways).subspan(i + 1));
    if (worst.ok()) worst = connected;
    // Dead, whatever others would say; or what others would do is forbidden.
    if (WithinHost(door.transport) && (IsDisconnected(worst) || IsUnsupported(worst))) return worst;
  }
  if (!route.links.empty()) return route;  // what can be mapped can be reached
  if (!worst.ok()) return worst;
  return Unsupported("host {} can't be reached from this host by any transport of this build: {}",
                     record.host_name(), refusals);
}

void EnginePeers::OnRecord(Peer& peer, const store::EngineRecord& record) {
  std::lock_guard lock(mutex_);
  if (peer.record.has_value() && peer.record->epoch() >= record.epoch()) return;
  // A new life under the name: the former is over, if its end hasn't shown yet.
  if (peer.record.has_value()) {
    if (WasLost(peer.name, peer.record->epoch())) TellDown(peer.name, peer.record->epoch());
    Lose(peer.name, peer.record->epoch(),
         Disconnected("engine '{}' died: it is back as a new one", peer.name), true);
  }
  peer.record = record;
  changed_.notify_all();
}

void EnginePeers::OnRecordRemoved(const std::string& name, Rank member, std::uint64_t epoch) {
  std::lock_guard lock(mutex_);
  if (auto peer = peers_.find(name); peer != peers_.end() && peer->second->record.has_value() &&
                                     peer->second->record->epoch() == epoch)
    peer->second->record.reset();
  bool linked = std::any_of(links_.begin(), links_.end(), [&](const auto& link) {
    return link.first.second == member && link.second->epoch() == epoch;
  });
  auto known = names_.find(member);
  if (known != names_.end() && known->second.epoch == epoch) names_.erase(known);
  if (!linked && !WasLost(name, epoch)) return;
  TellDown(name, epoch);
  Lose(name, epoch,
       Disconnected("engine '{}' is gone: its lease has ended (it was stopped, or cut off)", name),
       true);
}

void EnginePeers::Lose(const std::string& name, std::uint64_t epoch, const Status& why,
                       bool final) {
  if (auto peer = peers_.find(name);
      final && peer != peers_.end() && epoch > peer->second->dead_epoch) {
    peer->second->dead_epoch = epoch;
    peer->second->why_dead = why;
  }
  std::unique_lock lock(routes_mutex_);
  auto route = routes_.find(name);
  if (route != routes_.end() && route->second->epoch <= epoch) routes_.erase(route);
}

bool EnginePeers::WasLost(const std::string& name, std::uint64_t epoch) {
  auto lost = lost_.find(name);
  if (lost == lost_.end() || lost->second != epoch) return false;
  lost_.erase(lost);
  return true;
}

void EnginePeers::TellDown(const std::string& name, std::uint64_t epoch) {
  if (!peer_down_.wanted()) return;
  auto& told = told_down_[name];
  if (told >= epoch) return;
  told = epoch;
  peer_down_.Tell(name);
}

Status EnginePeers::Observer::OnPeerArriving(Rank rank, std::uint64_t) {
  std::lock_guard lock(peers_.mutex_);
  if (rank == peers_.own_member_)
    return InvalidArgument(
        "two engines have drawn the member number {}: start one of the two again", rank);
  return Ok();
}

void EnginePeers::Observer::OnLinkUp(std::shared_ptr<transport::Link> link) {
  std::lock_guard lock(peers_.mutex_);
  Rank rank = link->rank();
  if (auto name = peers_.names_.find(rank);
      name != peers_.names_.end() && name->second.epoch == link->epoch())
    peers_.lost_.erase(name->second.text);
  peers_.links_[{index_, rank}] = std::move(link);
}

void EnginePeers::Observer::OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) {
  std::shared_ptr<transport::Link> ended;  // goes without the mutex
  std::lock_guard lock(peers_.mutex_);
  auto link = peers_.links_.find({index_, rank});
  if (link == peers_.links_.end() || link->second->epoch() != epoch) return;
  ended = std::move(link->second);
  peers_.links_.erase(link);
  auto name = peers_.names_.find(rank);
  if (name == peers_.names_.end() || name->second.epoch != epoch) return;
  const std::string text = name->second.text;
  if (!why.ok() && (WithinHost(transport) || peers_.own_directory_)) {
    peers_.TellDown(text, epoch);
  } else if (!why.ok()) {
    peers_.lost_[text] = epoch;  // a network may have failed it: its record tells whether it lives
  }
  Status status = why.ok() ? Disconnected("engine '{}' has been destroyed", text)
                           : Disconnected("engine '{}' is gone: {}", text, why.message());
  peers_.Lose(text, epoch, status, why.ok() || WithinHost(transport));
}

}  // namespace memfabric::trans
