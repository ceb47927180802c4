// bm/peers.h: the other ranks of a pool as this process knows them: linked or not, in which life,
// and what the directory says. It hears from the transports and from the directory and keeps
// copy::Reach true.
//
// The truth about a peer is its link: on one host it comes with the peer's join and goes, at once,
// with its death. Between hosts it may also break while the peer lives; then it is made again, by
// either end, as long as the peer's record stands. The directory adds what links can't tell: that a
// peer is stopped or cut off (its lease ends), who it is, and who else is there. Every word about a
// rank counts only with the epoch it came with.
//
// Owner: the pool. Threads: any; one mutex, never held while a link is closed or a user is called.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/read_gate.h"
#include "base/status.h"
#include "bm/events.h"
#include "bm/orphans.h"
#include "copy/reach.h"
#include "store/client/client.h"
#include "store/recipes/records.pb.h"
#include "transport/transport.h"

namespace memfabric::bm {

struct Member {
  Rank rank = kNoRank;
  std::uint64_t epoch = 0;
  std::int64_t pid = 0;
  std::string host_name;
  std::array<std::uint64_t, kZones> bytes{};
};

class PoolPeers final : public transport::PeerObserver {
 public:
  // All of them outlive this object. `gate`: copies run inside it.
  // `on_broken`: a link broke whose peer may well be there: see Broken(). Called on the transports'
  // threads, without a lock.
  PoolPeers(std::uint32_t pool, Rank own, copy::Reach& reach, ReadGate& gate, Orphans& orphans,
            Events& events, std::function<void()> on_broken);

  // Drops all links, with `why` for later copies. Nobody is told of it as a LEAVE of theirs. This
  // rank has left its peers, or they have `given_up` it, and then it may be back soon.
  void DropAll(const Status& why, bool given_up = false);
  // This rank has joined: ranks that aren't linked are from now on "not joined" instead of the
  // reason of the last DropAll.
  void Opened();

  std::shared_ptr<transport::Link> LinkOf(Rank rank) const;
  // The life of the rank that is linked, 0 for none.
  std::uint64_t LinkedEpoch(Rank rank) const;
  // Whether that rank was here in that life or a later one and is gone: no use to look for it.
  bool KnownGone(Rank rank, std::uint64_t epoch) const;
  // PoolPeers whose link broke, which says nothing of them where a network is between, and whose
  // record
  // stands.
  struct BrokenPeer {
    store::PoolRecord record;
    std::string path;  // that it had
  };
  std::vector<BrokenPeer> Broken() const;
  // Linked peers, by rank; those whose record hasn't come yet have pid 0.
  std::vector<Member> Linked() const;

  // transport::PeerObserver
  Status OnPeerArriving(Rank rank, std::uint64_t epoch) override;
  void OnLinkUp(std::shared_ptr<transport::Link> link) override;
  void OnPeerGrown(Rank rank, std::uint64_t epoch) override;
  void OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) override;

  // What the directory says.
  void OnRecord(const store::PoolRecord& record);
  void OnRecordRemoved(Rank rank, std::uint64_t epoch);

 private:
  struct Peer {
    std::shared_ptr<transport::Link> link;  // shared with copies in flight
    std::uint64_t epoch = 0;                // of the last life seen linked
    std::uint64_t over_epoch = 0;           // whose record has gone; it may not be linked any more
    bool ever_mapped = false;
    std::string broken_path;  // of its link, which broke; "": it has one, or isn't there
    std::optional<store::PoolRecord> record;
  };

  Status Gone() const;             // said of a rank whose record has gone
  void Publish(const Peer& peer);  // REQUIRES: mutex_, peer.link
  // Returns the link that went, to be destroyed without the mutex. REQUIRES: mutex_.
  std::shared_ptr<transport::Link> Drop(Rank rank, Status why, bool left = false);

  const std::uint32_t pool_;
  const Rank own_;
  copy::Reach& reach_;
  ReadGate& gate_;
  Orphans& orphans_;
  Events& events_;
  const std::function<void()> on_broken_;
  mutable std::mutex mutex_;
  std::vector<Peer> peers_;
};

}  // namespace memfabric::bm
