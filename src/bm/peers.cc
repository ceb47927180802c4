#include "bm/peers.h"

#include <algorithm>
#include <utility>

namespace memfabric::bm {

PoolPeers::PoolPeers(std::uint32_t pool, Rank own, copy::Reach& reach, ReadGate& gate,
                     Orphans& orphans, Events& events, std::function<void()> on_broken)
    : pool_(pool),
      own_(own),
      reach_(reach),
      gate_(gate),
      orphans_(orphans),
      events_(events),
      on_broken_(std::move(on_broken)),
      peers_(reach.layout().world_size) {}

std::shared_ptr<transport::Link> PoolPeers::Drop(Rank rank, Status why, bool left) {
  reach_.Close(rank, std::move(why));
  auto link = std::exchange(peers_[rank].link, nullptr);
  if (link != nullptr && link->load_store())
    left ? orphans_.Left(rank, link->zones()->allocated_bytes())
         : orphans_.Died(rank, link->zones()->allocated_bytes());
  return link;
}

Status PoolPeers::Gone() const {
  return Disconnected("it has left pool {}, or its lease ended because it was stopped or cut off",
                      pool_);
}

void PoolPeers::DropAll(const Status& why, bool given_up) {
  std::vector<std::shared_ptr<transport::Link>> gone;
  std::lock_guard lock(mutex_);
  for (Rank rank = 0; rank < peers_.size(); ++rank) {
    gone.push_back(Drop(rank, why, /*left=*/!given_up));
    peers_[rank].broken_path.clear();
    if (!given_up) orphans_.HasLeft(rank);
  }
}

void PoolPeers::Opened() {
  std::lock_guard lock(mutex_);
  for (Rank rank = 0; rank < peers_.size(); ++rank) {
    if (rank == own_ || peers_[rank].link != nullptr || IsDisconnected(reach_.WhyNot(rank)))
      continue;
    reach_.Close(rank, Disconnected("it has not joined pool {}", pool_));
  }
}

void PoolPeers::Publish(const Peer& peer) {
  if (peer.link->load_store()) {
    transport::ZoneAccess& zones = *peer.link->zones();
    reach_.SetMapped(peer.link->rank(), zones.allocated_bytes(), *zones.load_store());
  } else {
    reach_.SetLink(peer.link->rank(), peer.link);
  }
}

std::shared_ptr<transport::Link> PoolPeers::LinkOf(Rank rank) const {
  std::lock_guard lock(mutex_);
  return rank < peers_.size() ? peers_[rank].link : nullptr;
}

std::uint64_t PoolPeers::LinkedEpoch(Rank rank) const {
  std::lock_guard lock(mutex_);
  return peers_[rank].link == nullptr ? 0 : peers_[rank].epoch;
}

bool PoolPeers::KnownGone(Rank rank, std::uint64_t epoch) const {
  std::lock_guard lock(mutex_);
  return peers_[rank].link == nullptr && peers_[rank].epoch >= epoch;
}

std::vector<PoolPeers::BrokenPeer> PoolPeers::Broken() const {
  std::lock_guard lock(mutex_);
  std::vector<BrokenPeer> broken;
  for (const auto& peer : peers_) {
    if (peer.broken_path.empty() || !peer.record.has_value() || peer.record->epoch() != peer.epoch)
      continue;
    broken.push_back({*peer.record, peer.broken_path});
  }
  return broken;
}

std::vector<Member> PoolPeers::Linked() const {
  std::lock_guard lock(mutex_);
  std::vector<Member> members;
  for (const auto& peer : peers_) {
    if (peer.link == nullptr) continue;
    Member member;
    member.rank = peer.link->rank();
    member.epoch = peer.epoch;
    member.bytes = peer.link->zones()->allocated_bytes();
    if (peer.record.has_value() && peer.record->epoch() == peer.epoch) {
      member.pid = peer.record->pid();
      member.host_name = peer.record->host_name();
    }
    members.push_back(std::move(member));
  }
  return members;
}

Status PoolPeers::OnPeerArriving(Rank rank, std::uint64_t epoch) {
  std::shared_ptr<transport::Link> former;
  bool mapped = false;
  {
    std::lock_guard lock(mutex_);
    if (rank >= peers_.size() || rank == own_)
      return InvalidArgument("rank {} can't be a peer of rank {} in a pool of {}", rank, own_,
                             peers_.size());
    Peer& peer = peers_[rank];
    if (epoch < peer.epoch)
      return AlreadyExists("epoch {} of rank {} is over: epoch {} has been seen", epoch, rank,
                           peer.epoch);
    if (epoch < peer.over_epoch)
      return AlreadyExists("epoch {} of rank {} is over: epoch {} has been there", epoch, rank,
                           peer.over_epoch);
    if (epoch == peer.over_epoch)
      return Disconnected(
          "epoch {} of rank {} is over: its record has gone, because it left or its lease ended",
          epoch, rank);
    mapped = peer.ever_mapped;
    if (peer.link != nullptr) {
      former =
          Drop(rank, Disconnected("it has restarted and is on its way back into pool {}", pool_));
      events_.Tell(rank, GroupEvent::kLeave);
    }
  }
  // Copies that run may still write into the former life's memory. Let them end before the slot
  // shows the new one's.
  if (mapped) gate_.Synchronize();
  orphans_.Arriving(rank);
  return Ok();
}

void PoolPeers::OnLinkUp(std::shared_ptr<transport::Link> link) {
  std::lock_guard lock(mutex_);
  Peer& peer = peers_[link->rank()];
  peer.epoch = link->epoch();
  peer.link = std::move(link);
  peer.broken_path.clear();
  const bool mapped = peer.link->load_store();
  peer.ever_mapped |= mapped;
  orphans_.Arrived(peer.link->rank(),
                   mapped ? peer.link->zones()->allocated_bytes() : transport::ZoneBytes{});
  Publish(peer);
  events_.Tell(peer.link->rank(), GroupEvent::kJoin);
}

void PoolPeers::OnPeerGrown(Rank rank, std::uint64_t epoch) {
  std::lock_guard lock(mutex_);
  Peer& peer = peers_[rank];
  if (peer.link != nullptr && peer.epoch == epoch) Publish(peer);
}

void PoolPeers::OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) {
  std::shared_ptr<transport::Link> gone;
  {
    std::lock_guard lock(mutex_);
    if (peers_[rank].epoch != epoch) return;
    if (peers_[rank].link == nullptr) {
      if (why.ok()) orphans_.HasLeft(rank);
      return;
    }
    gone =
        Drop(rank, why.ok() ? Disconnected("it has left pool {}", pool_) : why, /*left=*/why.ok());
    events_.Tell(rank, GroupEvent::kLeave);
    if (why.ok() || gone->load_store()) return;  // it has left; it has died
    peers_[rank].broken_path = gone->path();
  }
  on_broken_();
}

void PoolPeers::OnRecord(const store::PoolRecord& record) {
  {
    std::lock_guard lock(mutex_);
    if (record.rank() >= peers_.size()) return;
    Peer& peer = peers_[record.rank()];
    peer.record = record;
    // published again after the store was lost
    if (peer.over_epoch == record.epoch()) peer.over_epoch = 0;
    if (peer.broken_path.empty() || peer.epoch != record.epoch()) return;
  }
  on_broken_();
}

void PoolPeers::OnRecordRemoved(Rank rank, std::uint64_t epoch) {
  std::shared_ptr<transport::Link> gone;
  std::lock_guard lock(mutex_);
  if (rank >= peers_.size() || rank == own_) return;
  Peer& peer = peers_[rank];
  if (peer.record.has_value() && peer.record->epoch() == epoch) peer.record.reset();
  // What broke its link may have overtaken its goodbye: now it is known to be gone.
  const bool was_broken = peer.link == nullptr && peer.epoch == epoch && !peer.broken_path.empty();
  if (was_broken) reach_.Close(rank, Gone());
  if (peer.epoch == epoch) peer.broken_path.clear();
  peer.over_epoch = std::max(peer.over_epoch, epoch);
  if (peer.link == nullptr || peer.epoch != epoch) return;
  gone = Drop(rank, Gone());
  events_.Tell(rank, GroupEvent::kLeave);
}

}  // namespace memfabric::bm
