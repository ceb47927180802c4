// transport/transport.h: how this process reaches other processes' memory. docs/ says how to add
// one.
//
// A Transport is one way of reaching memory (mapped, cma, tcp, ucx, fake). The runtime owns one of
// each that this machine has. A member of a pool opens a Port on each; a Port accepts peers and
// connects to peers; each connection is a Link. A Link belongs to one (peer rank, epoch) and dies
// with it. Both ends of a connection get one.
//
// Who connects: the member that joins later connects to every member that joined earlier. Connect
// returns only after the peer's observer has accepted, so afterwards each of the two reaches the
// other and nobody has to look anything up.
//
// Threads: every function may be called from any thread. Completions are delivered on the calling
// thread of Flush. Observers are called without a lock of the transport held.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "address/global_address.h"
#include "address/window.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/wait.h"
#include "memory/backed_chunks.h"
#include "memory/registered_memory.h"
#include "memory/registered_table.h"
#include "memory/segment.h"

namespace memfabric::transport {

// Places in a peer's memory go by three names, everywhere. A slot_offset counts from the begin of
// the peer's slot of a zone. An owner_address is one of the peer's process, in memory that its user
// has registered. A target is either: the first in requests to a zone, the second in requests to
// registered memory.

// One contiguous piece. `local` is an address of this process.
struct Piece {
  std::byte* local;
  std::uint64_t target;
  std::size_t size_bytes;
};

// What a transport can do here and now; probed once, never assumed.
struct Capabilities {
  // the peer's memory is readable and writable by plain instructions, at its slot in our window
  bool load_store = false;
  bool zones = true;        // pools' memory is reached: links have zones()
  bool registered = false;  // memory that users have registered is reached: links have registered()
  // only peers of this host are reached, and a connection ends with the process at its other end;
  // a network may fail a connection whose ends both live
  bool same_host = false;
  bool rdma = false;  // the network moves bytes, not the peer's processor
};

// An operation on an 8-byte cell, performed at the peer.
struct AtomicRequest {
  // The values travel in frames.
  enum class Operation : std::uint8_t {
    kFetchAdd = 0,
    kSwap = 1,
    kCompareSwap = 2,
    kFetch = 3,
    kFetchAnd = 4,
    kFetchOr = 5,
    kFetchXor = 6,
  };
  Operation operation = Operation::kFetch;
  std::uint64_t slot_offset = 0;  // of the cell; a multiple of 8
  std::uint64_t operand = 0;      // kFetch: unused
  std::uint64_t expected = 0;     // kCompareSwap: the operand is stored if the cell holds this
};
// Carries it out on a cell of this process's memory, sequentially consistent; returns what the cell
// held before.
std::uint64_t PerformAtomic(std::uint64_t* cell, const AtomicRequest& request);
// InvalidArgument unless the cell lies within `allocated_bytes` and is aligned.
Status CheckAtomic(Rank rank, Zone zone, const AtomicRequest& request,
                   std::uint64_t allocated_bytes);

// How peers find a member: what stands of it in its directory record. A value.
struct MemberAddress {
  std::string pool;  // job and pool; both ends must name the same one
  Rank rank = kNoRank;
  std::uint64_t epoch = 0;  // which life of the rank: a restarted rank is a new one
  std::string host;         // identity of the host (boot id + network namespace)
  std::int64_t pid = 0;
  // the transport's own: socket name, addresses, keys. Opaque to everybody else
  std::string advert;
  std::string ToString() const;  // "rank 3 (host …, pid 4711)"
};

constexpr std::size_t kMaxSignalBytes = 64;

// How far a zone of a peer's slot may be used.
using ZoneBytes = std::array<std::uint64_t, kZones>;

using ZoneChunks = std::array<std::shared_ptr<BackedChunks>, kZones>;

// InvalidArgument, naming all numbers, unless each piece lies within `allocated_bytes` of the zone
// of `rank`.
Status CheckPieces(Rank rank, Zone zone, std::span<const Piece> pieces,
                   std::uint64_t allocated_bytes);

// A peer's slots, as far as the peer has allocated them.
class ZoneAccess {
 public:
  virtual ~ZoneAccess() = default;

  // What the peer has allocated, as far as this end knows; grows only.
  virtual ZoneBytes allocated_bytes() const = 0;
  // Null: plain instructions don't reach the peer's memory. Else they do, at its slot in our
  // window; by zone, what is to be obtained before they first touch it, where that isn't null.
  virtual const ZoneChunks* load_store() const = 0;
  // Pieces that one Put or Get carries; longer lists are split by copy/.
  virtual std::size_t max_pieces() const = 0;

  // Starts to move `pieces` into (Put) or out of (Get) the peer's slot. The bytes are in place, and
  // visible to the peer's threads, once a later Flush of this thread has returned Ok. REQUIRES:
  // pieces.size() <= max_pieces(), each piece's local range stays valid until that Flush returns.
  // InvalidArgument: a piece leaves what the peer has allocated; nothing moved. Disconnected: the
  // peer is gone.
  virtual Status Put(Zone zone, std::span<const Piece> pieces) = 0;
  virtual Status Get(Zone zone, std::span<const Piece> pieces) = 0;
};

// Memory that the peer's user owns and has registered there.
class RegisteredAccess {
 public:
  virtual ~RegisteredAccess() = default;

  // False: only what lies in memory of the peer's shared blocks is reached. Then Put and Get give
  // Unsupported for the rest.
  virtual bool reaches_all() const = 0;
  // Whether a move is done when Put or Get returns, and several threads move more than one.
  virtual bool parallel() const = 0;
  virtual std::size_t max_pieces() const = 0;

  // As ZoneAccess::Put and Get. InvalidArgument, from here or from Flush: a piece isn't registered
  // at the peer (any more); other pieces may have moved.
  virtual Status Put(std::span<const Piece> pieces) = 0;
  virtual Status Get(std::span<const Piece> pieces) = 0;
};

// Cells and flags in a peer's slots that plain instructions don't reach.
class Signalling {
 public:
  virtual ~Signalling() = default;

  // Performs `request` on a cell of the peer's slot, after this thread's earlier Puts on this link,
  // in one order with the peer's own std::atomic operations on the cell; returns what the cell held
  // before. Waits for the answer; Disconnected: it may or may not have been performed.
  virtual Result<std::uint64_t> Atomic(Zone zone, const AtomicRequest& request,
                                       Deadline deadline) = 0;

  // Puts at most kMaxSignalBytes, after this thread's earlier Puts on this link; `bytes` is the
  // caller's again at once. Nobody hears whether it arrived, unless the link goes down: for flags
  // that the peer waits for. It may wait for room.
  virtual Status Signal(Zone zone, std::uint64_t slot_offset, std::span<const std::byte> bytes,
                        Deadline deadline) = 0;
  // Calls `begin` (which may signal, and must not wait for this link), then waits for what the peer
  // writes into this process's memory, where that takes this process's help: until `done`, which is
  // asked with locks of the transport held, must be quick, and is asked at least every
  // kInterruptPeriod. Where no help is needed it doesn't wait, whatever `done` says. `begin`'s
  // failure, DeadlineExceeded, Interrupted, Disconnected.
  virtual Status AwaitSignal(Deadline deadline, const std::function<Status()>& begin,
                             const std::function<bool()>& done) = 0;
};

// What path() says where plain instructions do it: to this process's own memory, too.
constexpr std::string_view kPlainPath = "mapped";

// Which life of which member.
struct MemberLife {
  Rank rank = kNoRank;
  std::uint64_t epoch = 0;
};

// A way to one peer's memory. Moves bytes in the order of the calls of one thread.
class Link {
 public:
  virtual ~Link() = default;  // Closes. Requests in flight complete with Disconnected first.

  virtual MemberLife peer() const = 0;
  Rank rank() const { return peer().rank; }
  std::uint64_t epoch() const { return peer().epoch; }
  // "mapped", "cma", "tcp", "tcp+tls", "fake": what the bytes really take
  virtual std::string_view path() const = 0;

  // What of the peer this link reaches; null: nothing of that kind. The same for the link's whole
  // life, and gone with it. What plain instructions reach needs no signals().
  virtual ZoneAccess* zones() = 0;
  virtual RegisteredAccess* registered() = 0;
  virtual Signalling* signals() = 0;
  // Whether plain instructions reach the peer's zones.
  bool load_store() { return zones() != nullptr && zones()->load_store() != nullptr; }

  // Waits until everything that this thread started on this link is in place. InvalidArgument: a
  // local range isn't there (any more), or what is registered at the peer isn't; the link stays
  // good. DeadlineExceeded and Interrupted give all of it up: no local range is read or written any
  // more, and what the remote ranges hold is unspecified; the link stays good.
  virtual Status Flush(Bound bound) = 0;
};

// What the owner of a Port (a pool) is told. Calls for one rank never overlap; calls for different
// ranks may.
class PeerObserver {
 public:
  virtual ~PeerObserver() = default;

  // A peer is about to be linked. The owner ends what it still does with an earlier life of that
  // rank and says where in the window the transport may map; after it has returned Ok no thread of
  // ours touches that rank's slot until OnLinkUp. An error refuses the peer (AlreadyExists: an
  // older epoch than one known; else InvalidArgument: a rank outside the pool); it is sent to the
  // peer as text.
  virtual Status OnPeerArriving(Rank rank, std::uint64_t epoch) = 0;
  // The link stands: on the thread of Connect, or of the transport's reactor when the peer
  // connected to us; the peer's Connect returns after this has. The owner keeps the link for as
  // long as it uses it.
  virtual void OnLinkUp(std::shared_ptr<Link> link) = 0;
  // The peer contributes more now; ZoneAccess::allocated_bytes() says how much. The peer's Announce
  // returns after this has.
  virtual void OnPeerGrown(Rank rank, std::uint64_t epoch) = 0;
  // The peer died (Disconnected, with how it showed) or left (Ok). At most once a link; none after
  // the owner has dropped the Port.
  virtual void OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) = 0;
};

// A member's presence on one transport: its own memory made reachable, and its links.
class Port {
 public:
  // Says goodbye to all peers (they get OnLinkDown(Ok)), closes; no observer call follows.
  // REQUIRES: as ConnectAll.
  virtual ~Port() = default;

  // For this member's directory record.
  virtual std::string advert() const = 0;

  // Links to all `peers` at once, so that one that doesn't answer delays no other; returns one
  // Status each, in their order. Ok: the observer's OnLinkUp has returned on both ends; also for a
  // peer that is linked already in this epoch. Disconnected: nobody serves that address any more,
  // or it is another life (the epochs differ). DeadlineExceeded: it did not answer (stopped,
  // overloaded). AlreadyExists: the peer knows a later epoch of this member. InvalidArgument: it
  // refused for another reason, which is said. Interrupted: not linked by then.
  // REQUIRES: not called by an observer; the caller holds no lock that the observer takes.
  virtual std::vector<Status> ConnectAll(std::span<const MemberAddress> peers,
                                         Deadline deadline) = 0;
  Status Connect(const MemberAddress& peer, Deadline deadline);

  // Tells all linked peers that this member's segments have grown (their Segment::allocated_bytes
  // is the truth); Ok once each has mapped the new part or is gone. DeadlineExceeded names who did
  // not answer. REQUIRES: as ConnectAll.
  virtual Status Announce(Deadline deadline) = 0;
};

// Which ports a member may take when `nic` names one: that is the first of a range, because
// programs give all members of a host the same.
struct PortRange {
  std::uint32_t own = 0;    // the member's own is the named one + this
  std::uint32_t spare = 1;  // if that is taken: the next free one from the named one + this on
  // peers' firewalls count on its own port: another one is worth a warning
  bool says_which = false;
};

// What a port uses of the network. Transports within a host ignore it.
struct NetworkOptions {
  // what addresses to listen at, as set_nic takes it; "": those that the route to `near_host` leads
  // out of
  std::string nic;
  std::string near_host;  // a host of the store, which the others reach too; "": none
  bool encrypt = false;   // TLS for everything, not only to authenticate
  PortRange ports;
};

// What peers reach of a pool's member, by links' zones().
struct ZoneOptions {
  // where load/store transports map peers' slots
  std::shared_ptr<Window> window;
  std::function<std::uint64_t(Zone, Rank)> slot_begin;  // offset of a slot in the window
  // slot sizes; equal in the whole pool, checked with each peer
  ZoneBytes max_bytes{};
  // this member's; null where it contributes nothing. Outlive the Port.
  std::array<const Segment*, kZones> segments{};
  // A peer's put or atomic has taken place in this zone of this member's memory: for whoever sleeps
  // until something does. Called on the thread that served it, with locks of the transport held: it
  // must not wait, nor call the transport. Links with load_store store by themselves, so nobody is
  // told. May be empty. Lives as long as the Port and its links.
  std::function<void(Zone)> on_served;
};

// What peers reach of an engine, by links' registered(). Null: nothing. Both outlive the Port.
struct RegisteredOptions {
  RegisteredMemory* memory = nullptr;
  RegisteredTable* table = nullptr;  // the same, as peers on this host map it
};

struct PortOptions {
  // Who opens it.
  std::string pool;
  Rank rank = kNoRank;
  std::uint64_t epoch = 0;
  std::string host;
  std::uint32_t world_size = 0;
  PeerObserver* observer = nullptr;  // outlives the Port
  NetworkOptions network;
  ZoneOptions zones;
  RegisteredOptions registered;
};

class Transport {
 public:
  virtual ~Transport() = default;

  virtual std::string_view name() const = 0;
  virtual Capabilities capabilities() const = 0;

  // Whether `peer` can be reached from here at all. Unsupported says why not.
  virtual Status CanReach(const MemberAddress& peer) const = 0;
  // Whether that address shows that `peer` isn't on this host, whatever its record says. False when
  // it can't show that.
  virtual bool IsElsewhere(const MemberAddress& peer) const = 0;

  virtual Result<std::unique_ptr<Port>> Open(const PortOptions& options) = 0;
};

}  // namespace memfabric::transport
