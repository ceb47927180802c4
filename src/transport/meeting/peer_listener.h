// transport/meeting/peer_listener.h: takes in who calls at a venue, for all ports that this process
// has there: grants strangers a little time, reads whom their HELLO is for, and hands them on.
//
// Owned by its transport's PeerListeners, for as long as a port uses it. Threads: Join from any,
// the destructor from any but the reactor's; everything else on the reactor's, whose all state is.

#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/mutex.h"
#include "transport/meeting/peer_protocol.h"
#include "transport/meeting/peer_venue.h"
#include "transport/reactor.h"

namespace memfabric::transport {

// What is granted to connections that have not introduced themselves.
struct StrangerLimits {
  std::chrono::milliseconds patience{5000};
  std::size_t count = 64;  // one more, and the one that has been silent for longest goes
};

class PeerListener {
 public:
  // Gets a connection that has said HELLO to its member, and the files that came with that.
  using OnHello = std::function<void(std::shared_ptr<MessageSocket> socket, std::string who,
                                     const meeting::Hello& hello, Packet& packet)>;

  PeerListener(Reactor& reactor, const StrangerLimits& limits, std::unique_ptr<PeerVenue> venue);
  ~PeerListener();
  // REQUIRES: once, before anything else.
  Status Listen();

  PeerVenue& venue() { return *venue_; }
  // `on_hello` is called until the member leaves. Returns the member's advert. InvalidArgument: it
  // is here already.
  Result<std::string> Join(const meeting::Addressee& member, OnHello on_hello);
  void Leave(const meeting::Addressee& member);

 private:
  struct Stranger {
    std::shared_ptr<MessageSocket> socket;  // shared with a link, once it has one
    std::string who;
    Reactor::TimerId patience = 0;
    // not empty: accepted by means of the spare descriptor, only to be told this
    std::string no_room;
  };
  using StrangerPtr = std::shared_ptr<Stranger>;  // shared: the reactor's callbacks

  void Pause();
  void OnCallers();
  void Receive(const StrangerPtr& stranger);
  void Introduce(const StrangerPtr& stranger, const meeting::Hello& hello, Packet& packet);
  void Forget(const StrangerPtr& stranger);
  void Drop(const StrangerPtr& stranger);
  void Refuse(const StrangerPtr& stranger, Kind kind, const std::string& reason);
  void Misbehaved(const StrangerPtr& stranger, std::string_view how);
  void Count(const StrangerPtr& stranger, std::string_view how);

  Reactor& reactor_;
  const StrangerLimits limits_;
  const std::unique_ptr<PeerVenue> venue_;
  std::map<meeting::Addressee, OnHello> members_;
  std::deque<StrangerPtr> strangers_;  // oldest first
  Reactor::TimerId resume_ = 0;
  std::uint64_t refused_ = 0;  // strangers
  // a descriptor that is given up for a moment to tell a caller that there is no other
  UniqueFd spare_;
  bool warned_of_fds_ = false;
  bool warned_of_users_ = false;
};

// The listeners of a transport. Owned by it. Threads: any but the reactor's.
class PeerListeners {
 public:
  // One of those that are open, or a new one.
  struct Choice {
    PeerVenue* open = nullptr;
    std::unique_ptr<PeerVenue> added;
  };
  using Choose = std::function<Result<Choice>(const std::vector<PeerVenue*>& open)>;

  PeerListeners(Reactor& reactor, const StrangerLimits& limits)
      : reactor_(reactor), limits_(limits) {}

  // The listener at the venue that `choose` returns; it is the caller's, too, until Release.
  Result<PeerListener*> Take(const Choose& choose);
  // The last one closes it.
  void Release(PeerListener& listener);

  Reactor& reactor() { return reactor_; }

 private:
  struct Shared {
    std::unique_ptr<PeerListener> listener;
    std::size_t users;
  };

  Reactor& reactor_;
  const StrangerLimits limits_;
  // Guards what follows; held while one opens and closes, so that another can have its address.
  Mutex mutex_;
  std::vector<Shared> open_ GUARDED_BY(mutex_);
};

}  // namespace memfabric::transport
