#include "shm/peers.h"

#include <fmt/format.h>

#include <utility>

#include "address/rank_list.h"
#include "base/wait.h"
#include "group/doorbell.h"

namespace memfabric::shm {

ObjectPeers::ObjectPeers(std::string object, Rank own, copy::Reach& reach, const Window& window)
    : object_(std::move(object)),
      own_(own),
      reach_(reach),
      window_(window),
      mapped_(reach.layout().world_size),
      peers_(reach.layout().world_size) {
  for (Rank rank = 0; rank < peers_.size(); ++rank)
    peers_[rank].name = fmt::format("rank {}", rank);
  peers_[own].came = true;
  linked_ = 1;
  mapped_[own] = ControlOf(own);
}

group::Control* ObjectPeers::ControlOf(Rank rank) const {
  return reinterpret_cast<group::Control*>(window_.data() +
                                           reach_.layout().SlotBegin(zone(), rank));
}

void ObjectPeers::Name(Rank rank, std::string name, Rank first_on_host) {
  std::lock_guard lock(mutex_);
  peers_[rank].name = std::move(name);
  peers_[rank].first_on_host = first_on_host;
}

Rank ObjectPeers::FirstOnHost(Rank rank) const {
  std::lock_guard lock(mutex_);
  return peers_[rank].first_on_host;
}

Status ObjectPeers::AwaitAll(Deadline deadline) {
  std::unique_lock lock(mutex_);
  Status status = WaitUntil(lock, changed_, deadline, [&] {
    return linked_ == peers_.size() || losses_.load() != 0 || !broken_.ok();
  });
  if (!broken_.ok()) return broken_;
  for (const Peer& peer : peers_)
    if (!peer.gone.ok()) return Disconnected("{}", peer.gone.message());
  if (!IsDeadlineExceeded(status)) return status;
  std::vector<Rank> missing;
  for (Rank rank = 0; rank < peers_.size(); ++rank)
    if (!peers_[rank].came) missing.push_back(rank);
  return DeadlineExceeded("rank(s) {} came, but were not linked in time", ListOf(missing));
}

void ObjectPeers::Wake() {
  changed_.notify_all();
  group::WakeSleepers(Mapped(own_)->doorbell);
  group::WakeSleepers(Mapped(own_)->cell_doorbell);
}

void ObjectPeers::Break(const Status& why) {
  std::lock_guard lock(mutex_);
  if (!broken_.ok()) return;
  broken_ = why;
  losses_.fetch_add(1, std::memory_order_release);
  Wake();
}

void ObjectPeers::DropAll(const Status& why) {
  Break(why);
  std::vector<std::shared_ptr<transport::Link>> gone;  // closed after the lock
  std::lock_guard lock(mutex_);
  reach_.CloseAll(why);
  for (auto& peer : peers_) gone.push_back(std::exchange(peer.link, nullptr));
}

std::vector<Rank> ObjectPeers::Live() const {
  std::lock_guard lock(mutex_);
  std::vector<Rank> live;
  for (Rank rank = 0; rank < peers_.size(); ++rank)
    if (peers_[rank].came && peers_[rank].gone.ok()) live.push_back(rank);
  return live;
}

Status ObjectPeers::OnPeerArriving(Rank rank, std::uint64_t) {
  std::lock_guard lock(mutex_);
  if (rank >= peers_.size() || rank == own_)
    return InvalidArgument("rank {} can't be a peer of rank {} in {} of {} ranks", rank, own_,
                           object_, peers_.size());
  if (peers_[rank].came)
    return InvalidArgument("rank {} has been in {} already; it can't come again", rank, object_);
  return Ok();
}

void ObjectPeers::OnLinkUp(std::shared_ptr<transport::Link> link) {
  std::lock_guard lock(mutex_);
  Rank rank = link->rank();
  Peer& peer = peers_[rank];
  if (!std::exchange(peer.came, true)) ++linked_;
  if (link->load_store()) {
    mapped_[rank].store(ControlOf(rank), std::memory_order_release);
    transport::ZoneAccess& zones = *link->zones();
    reach_.SetMapped(rank, zones.allocated_bytes(), *zones.load_store());
  } else {
    reach_.SetLink(rank, link);
  }
  peer.link = std::move(link);
  changed_.notify_all();
}

void ObjectPeers::OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) {
  std::shared_ptr<transport::Link> gone;  // closed after the lock
  std::lock_guard lock(mutex_);
  Peer& peer = peers_[rank];
  if (peer.link == nullptr || peer.link->epoch() != epoch) return;
  gone = std::exchange(peer.link, nullptr);
  peer.gone = why.ok()
                  ? NotFound("{} has left {}", peer.name, object_)
                  : Disconnected("{} has died or can't be reached: {}", peer.name, why.message());
  reach_.Close(rank, why.ok() ? Disconnected("it has left {}", object_) : why);
  losses_.fetch_add(1, std::memory_order_release);
  Wake();
}

std::shared_ptr<transport::Link> ObjectPeers::LinkOf(Rank rank) const {
  std::lock_guard lock(mutex_);
  return peers_[rank].link;
}

Status ObjectPeers::WhyGone(Rank rank) const {
  std::lock_guard lock(mutex_);
  if (!peers_[rank].gone.ok()) return peers_[rank].gone;
  return rank == own_ ? Ok() : broken_;
}

std::string ObjectPeers::Left() const { return ListOf(Live()); }

}  // namespace memfabric::shm
