// transport/fake/fake_transport.h: the simplest transport that moves bytes by messages, with faults
// to order. For tests, of copy/ above all, and the model for transports that have no load and
// store. Linked by tests only.
//
// A Put's packets carry the bytes; the target's reactor writes them to its segment and
// acknowledges. A Get's answer carries them back. Packets are answered in order, so one number says
// how far all are done.
//
// Threads: any. Link: one mutex.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "transport/meeting/peer_port.h"
#include "transport/reactor.h"
#include "transport/transport.h"

namespace memfabric::transport {

// What goes wrong at the end that it was given to. Threads: any.
class FakeFaults {
 public:
  // Peers that arrive, or that this end connects to, are refused.
  std::atomic<bool> refuse_links{false};
  // The end that owns the memory closes the connection when a request would take it beyond so many
  // bytes put and got.
  std::atomic<std::uint64_t> die_after_bytes{std::numeric_limits<std::uint64_t>::max()};

  // From now on requests are carried out but not answered, until Release.
  void HoldAnswers();
  void ReleaseAnswers();
  std::size_t held_answers() const;

  // For the link: sends `answer` now or at ReleaseAnswers, in order.
  void Answer(std::function<void()> answer);

 private:
  // guards both; held while answers are sent, so that their order stands
  mutable std::mutex mutex_;
  bool holding_ = false;
  std::vector<std::function<void()>> held_;
};

class FakeTransport final : public Transport {
 public:
  static constexpr std::size_t kMaxPieces = 4;  // few, so that what splits longer lists has to

  // All outlive it and its ports. `faults` may be null.
  FakeTransport(Reactor& reactor, std::string host, FakeFaults* faults,
                StrangerLimits strangers = {});

  std::string_view name() const override { return "fake"; }
  Capabilities capabilities() const override;
  Status CanReach(const MemberAddress& peer) const override;
  bool IsElsewhere(const MemberAddress&) const override { return false; }
  // Needs no window: it moves bytes into and out of `options.zones.segments`, mapped in this
  // process by the port.
  Result<std::unique_ptr<Port>> Open(const PortOptions& options) override;

 private:
  std::string host_;
  FakeFaults* faults_;
  PeerListeners listeners_;
};

}  // namespace memfabric::transport
