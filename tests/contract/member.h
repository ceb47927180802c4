// A member of a pool on one transport, with everything that it needs: reactor, window, segments,
// observer, port. The tests use one as themselves and others as peers. Threads: any.

#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "address/window.h"
#include "memory/registered_memory.h"
#include "memory/segment.h"
#include "transport/fake/fake_transport.h"
#include "transport/reactor.h"
#include "transport/transport.h"

namespace memfabric::transport::test {

class Member;

struct MemberOptions {
  std::string transport = "mapped";  // or "tcp", "tcp+tls", "fake"
  std::string pool = "job/7";
  Rank rank = 0;
  std::uint64_t epoch = 1;
  std::uint32_t world_size = 4;
  ZoneBytes max_bytes{};
  ZoneBytes allocated_bytes{};
  StrangerLimits stranger_limits{};
  int user_fd = -1;                     // backs the host zone
  std::string near_host = "127.0.0.1";  // tcp listens where the route to it leads
  std::string nic;
  PortRange ports;
  const Member* beside = nullptr;  // a member of the same process: one transport serves both
};

// Memory of a user, registered a buffer at a time. Threads: any.
class RegisteredBuffers final : public RegisteredMemory {
 public:
  Status Acquire(std::uint64_t address, std::uint64_t size_bytes) override;
  void Release(std::uint64_t address, std::uint64_t size_bytes) override;

  void Register(std::span<std::byte> buffer);
  void Deregister(std::span<std::byte> buffer);  // returns once no request touches it

 private:
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::map<std::uint64_t, std::uint64_t> sizes_;  // by address
  int uses_ = 0;
};

Deadline Soon();  // far more than anything needs that works

class Member final : public PeerObserver {
 public:
  static Result<std::unique_ptr<Member>> Open(const MemberOptions& options);
  ~Member() override;

  MemberAddress address() const;
  const Transport& transport() const { return *transport_; }
  Port& port() { return *port_; }
  FakeFaults& faults() { return faults_; }
  RegisteredBuffers& registered() { return registered_; }
  std::byte* memory(Zone zone) const;  // its own slot
  // where a load/store transport maps a peer's
  std::byte* slot(Zone zone, Rank rank) const;
  Status Grow(Zone zone, std::uint64_t bytes, Deadline deadline = Soon());  // and announces it
  void Leave() { port_.reset(); }

  // Waits, at most until Soon().
  std::shared_ptr<Link> LinkTo(Rank rank, std::uint64_t epoch);  // null: it didn't come
  // why the link to that life ended; none: it didn't
  std::optional<Status> LinkEnd(Rank rank, std::uint64_t epoch);
  std::size_t links_up() const;
  // how often ZoneOptions::on_served has told
  int served(Zone zone) const { return served_[Index(zone)]; }
  // of what an observer is promised; "" is good
  std::string violations() const;

  // The next peers that arrive find the reactor busy in OnPeerArriving until Admit().
  void HoldArrivals();
  bool WaitForArrival();
  void Admit();

  Status OnPeerArriving(Rank rank, std::uint64_t epoch) override;
  void OnLinkUp(std::shared_ptr<Link> link) override;
  void OnPeerGrown(Rank rank, std::uint64_t epoch) override;
  void OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) override;

  explicit Member(const MemberOptions& options) : options_(options) {}

 private:
  using Life = std::pair<Rank, std::uint64_t>;

  std::uint64_t SlotBegin(Zone zone, Rank rank) const;
  bool Wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done);

  const MemberOptions options_;
  FakeFaults faults_;
  RegisteredBuffers registered_;
  std::shared_ptr<Window> window_;
  std::array<std::unique_ptr<Segment>, kZones> segments_;
  // shared with the members beside it
  std::shared_ptr<Reactor> reactor_;
  std::shared_ptr<Transport> transport_;
  std::array<std::atomic<int>, kZones> served_{};
  mutable std::mutex mutex_;  // guards all below but port_
  std::condition_variable changed_;
  std::map<Rank, std::shared_ptr<Link>> links_;
  std::map<Life, Status> ends_;
  std::string violations_;
  bool hold_arrivals_ = false;
  bool arrival_held_ = false;
  std::unique_ptr<Port> port_;
};

}  // namespace memfabric::transport::test
