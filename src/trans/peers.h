// trans/peers.h: the peers of an engine: found by their names in the store, linked when they are
// first needed, lost when they die.
//
// A peer's record (store::EngineRecord) is watched from its first use on. Links are by member
// number and epoch; a route, which transfers use, is what of them leads to the peer in its present
// life. The truth about a peer of this host is its link; the record's end adds those that are
// stopped or cut off.
//
// Owner: the engine. Threads: any. routes_mutex_ guards what transfers read; mutex_, taken first,
// everything else. Neither is held while a port, a directory or a client is called.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "runtime/job.h"
#include "runtime/user_callback.h"
#include "store/recipes/directory.h"
#include "store/recipes/records.pb.h"
#include "transport/detours.h"
#include "transport/transport.h"

namespace memfabric::trans {

struct Route {
  // in the order of preference; shared with the ports
  std::vector<std::shared_ptr<transport::Link>> links;
  Rank member = kNoRank;
  std::uint64_t epoch = 0;
};
using RoutePtr = std::shared_ptr<const Route>;  // shared with transfers under way

class EnginePeers {
 public:
  // `transports` outlive this object. `own_directory`: a peer's name is where its record is served.
  EnginePeers(std::span<const std::unique_ptr<transport::Transport>> transports, bool own_directory,
              UserCallback<std::string>& peer_down);
  ~EnginePeers();

  // The presence of this engine in one life; `port` is complete but for the observer. Replaces a
  // former one.
  Status Open(transport::PortOptions port);
  // Adverts of the ports, by transport.
  std::vector<std::pair<std::string, std::string>> Adverts() const;
  // Ends all links; from now on everything fails with `why`, until Open.
  void Close(const Status& why);
  // No call finds anything any more, and directories end. REQUIRES: before the job ends.
  void Shut();

  // The way to a peer, linked if need be. Disconnected: it didn't appear before the deadline, left
  // or died.
  Result<RoutePtr> Find(Job& job, const std::string& name, Deadline deadline);
  // The peer down callback is wanted: from now on the names of all engines are known.
  Status FollowAll(Job& job, Deadline deadline);

 private:
  struct Peer {
    std::string name;
    std::unique_ptr<store::Client> own_client;  // to the peer's own directory
    store::Client* client = nullptr;
    std::string prefix;
    bool busy = false;                          // somebody finds it right now
    std::optional<store::EngineRecord> record;  // the newest
    std::uint64_t linked_epoch = 0;             // the last life that was linked, 0 for none
    std::uint64_t dead_epoch = 0;               // lives up to it are over
    Status why_dead;
    std::unique_ptr<store::Directory> directory;  // ends before what its listener uses
  };
  using PeerPtr = std::shared_ptr<Peer>;  // shared with calls that find it
  // What a transport tells us.
  class Observer final : public transport::PeerObserver {
   public:
    Observer(EnginePeers& peers, transport::Transport& over, std::size_t place)
        : transport(over), peers_(peers), index_(place) {}
    Status OnPeerArriving(Rank rank, std::uint64_t epoch) override;
    void OnLinkUp(std::shared_ptr<transport::Link> link) override;
    void OnPeerGrown(Rank, std::uint64_t) override {}
    void OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) override;

    transport::Transport& transport;
    std::shared_ptr<transport::Port> port;  // shared with calls that connect; guarded by mutex_

   private:
    EnginePeers& peers_;
    const std::size_t index_;
  };
  struct Name {
    std::string text;
    std::uint64_t epoch = 0;
  };

  RoutePtr RouteTo(const std::string& name) const;
  Status Locate(Job& job, Peer& peer, Deadline deadline);
  Status Follow(Job& job, Peer& peer, Deadline deadline);
  Status ReadAgain(Peer& peer, Deadline deadline);
  Result<Route> Link(const store::EngineRecord& record, Deadline deadline);
  void OnRecord(Peer& peer, const store::EngineRecord& record);
  void OnRecordRemoved(const std::string& name, Rank member, std::uint64_t epoch);
  // That life is over, or (not `final`) can't be reached for now. REQUIRES: mutex_.
  void Lose(const std::string& name, std::uint64_t epoch, const Status& why, bool final);
  // Whether a link to that life broke, and what became of it was open; asked once. REQUIRES:
  // mutex_.
  bool WasLost(const std::string& name, std::uint64_t epoch);
  // A peer that died is told of once. REQUIRES: mutex_.
  void TellDown(const std::string& name, std::uint64_t epoch);

  const bool own_directory_;
  const std::chrono::seconds timeout_;  // for unknown peers; in messages
  UserCallback<std::string>& peer_down_;
  std::vector<std::unique_ptr<Observer>> doors_;
  transport::Detours detours_;

  mutable std::shared_mutex routes_mutex_;  // guards routes_
  std::unordered_map<std::string, RoutePtr> routes_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  Status away_;
  Rank own_member_ = kNoRank;
  std::string pool_;
  std::map<std::string, PeerPtr> peers_;
  std::map<std::pair<std::size_t, Rank>, std::shared_ptr<transport::Link>> links_;  // by door
  std::map<Rank, Name> names_;
  std::map<std::string, std::uint64_t> lost_;       // lives whose link broke; by name, the last
  std::map<std::string, std::uint64_t> told_down_;  // the last life of each name that was told of
  std::unique_ptr<store::Directory> everybody_;
};

}  // namespace memfabric::trans
