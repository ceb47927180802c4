// transport/meeting/peer_venue.h: where this process meets its peers, for all members that it has
// there: how it listens, how others find each member, and what carries messages. A listener
// (peer_listener.h) takes in who calls, a port (peer_port.h) does the meeting itself, both the same
// for all venues.
//
// Owned by a listener. Threads: the reactor's, but for CheckAdvert and Trouble.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "transport/meeting/peer_protocol.h"
#include "transport/reactor.h"
#include "transport/transport.h"
#include "transport/unix_socket.h"

namespace memfabric::transport {

// A connection that carries packets in order and never blocks.
class MessageSocket {
 public:
  virtual ~MessageSocket() = default;

  // Calls `on_ready` when there is something to receive, until Close or the next Watch. `hung_up`:
  // the other end is gone.
  virtual Status Watch(std::function<void(bool hung_up)> on_ready) = 0;
  virtual Packet Receive(std::span<std::byte> buffer) = 0;
  // Sends now, or as soon as there is room. What can't be sent because the other end is gone is
  // dropped: who receives hears of the end. `files` stay open until then, or for as long as
  // `owner`, which is held until then.
  virtual void Send(std::vector<std::byte> bytes, std::vector<int> files = {},
                    std::shared_ptr<const void> owner = nullptr) = 0;
  // The same from any thread, and nothing once the socket is closed.
  virtual void Post(std::vector<std::byte> bytes) = 0;
  virtual std::size_t waiting_packets() const = 0;
  virtual void Close() = 0;
};

class PeerVenue {
 public:
  // A connection and who is, or claims to be, at its other end: "pid 4711", for messages to people.
  struct Encounter {
    std::shared_ptr<MessageSocket> socket;  // shared with a link that sends
    std::string who;
    // an error: it is refused with that, or, unless it is Unsupported, closed without a word
    Status trusted;
  };

  virtual ~PeerVenue() = default;

  // That life of a member of this process can be met here until it leaves; returns its advert, in
  // which a new key is its own.
  virtual Result<std::string> Enter(const meeting::Addressee& member) = 0;
  virtual void Leave(const meeting::Addressee& member) = 0;
  // Whether who sent `hello` by `socket` has read the advert of the member that it is for.
  // REQUIRES: that one has entered.
  virtual bool HasKey(const meeting::Hello& hello, const MessageSocket& socket) const = 0;
  // Becomes readable when somebody calls; -1: nobody can.
  virtual int listener() const = 0;
  // The next caller; none: there is none now. An error: it can't be accepted for now.
  virtual Result<std::optional<Encounter>> Accept() = 0;

  // InvalidArgument: no advert of such a venue, or one that doesn't suit this member.
  virtual Status CheckAdvert(const MemberAddress& peer) const = 0;
  // What looks wrong about the way to a peer that can't be reached or doesn't answer: "; …" or "".
  // For messages.
  virtual std::string Trouble(const MemberAddress& peer) const = 0;
  // Begins to connect; `hello` goes out as soon as that stands. InUse: no room, try again later;
  // other errors are final. REQUIRES: CheckAdvert is Ok.
  virtual Result<Encounter> Connect(const MemberAddress& peer, meeting::Hello hello,
                                    const std::vector<int>& files) = 0;
};

// A Unix socket in the abstract namespace, for processes of one host. InvalidArgument:
// MEMFABRIC_ALLOW_UIDS.
Result<std::unique_ptr<PeerVenue>> OpenUnixVenue(Reactor& reactor);

}  // namespace memfabric::transport
