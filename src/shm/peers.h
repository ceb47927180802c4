// shm/peers.h: the ranks of an object as this process knows them: linked, or gone. A rank comes
// once in an object's life and goes once; nobody takes its place.
//
// The truth about a peer is its link alone. A rank that is stopped, or cut off from the store, is
// still there: it is waited for.
//
// Owner: the object. Threads: any; one mutex, never held while a link is closed.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "address/window.h"
#include "base/status.h"
#include "copy/reach.h"
#include "group/members.h"
#include "transport/transport.h"

namespace memfabric::shm {

class ObjectPeers final : public transport::PeerObserver, public group::Members {
 public:
  // Both outlive this object. Control memory is the device zone; this rank's must be mapped.
  ObjectPeers(std::string object, Rank own, copy::Reach& reach, const Window& window);

  // What messages call a rank, once it is known: "rank 3 (host a, pid 7)", and the lowest rank on
  // its host.
  void Name(Rank rank, std::string name, Rank first_on_host);
  // Waits until all ranks are linked. DeadlineExceeded names those that are not.
  Status AwaitAll(Deadline deadline);
  // Ends all waits: `why` is from now on why every other rank is gone.
  void Break(const Status& why);
  // Lets all links go; calls fail with `why`.
  void DropAll(const Status& why);

  std::vector<Rank> Live() const;

  // transport::PeerObserver
  Status OnPeerArriving(Rank rank, std::uint64_t epoch) override;
  void OnLinkUp(std::shared_ptr<transport::Link> link) override;
  void OnPeerGrown(Rank, std::uint64_t) override {}  // contributions are fixed
  void OnLinkDown(Rank rank, std::uint64_t epoch, const Status& why) override;

  // group::Members
  std::uint32_t size() const override { return static_cast<std::uint32_t>(mapped_.size()); }
  Rank own() const override { return own_; }
  group::Control* Mapped(Rank rank) const override {
    return mapped_[rank].load(std::memory_order_acquire);
  }
  Rank FirstOnHost(Rank rank) const override;
  std::shared_ptr<transport::Link> LinkOf(Rank rank) const override;
  Zone zone() const override { return Zone::kDevice; }
  std::uint32_t losses() const override { return losses_.load(std::memory_order_acquire); }
  Status WhyGone(Rank rank) const override;
  std::string Left() const override;

 private:
  struct Peer {
    std::shared_ptr<transport::Link> link;  // shared with calls in flight
    bool came = false;
    Status gone;  // Ok: it has not
    std::string name;
    Rank first_on_host = 0;
  };
  group::Control* ControlOf(Rank rank) const;
  void Wake();

  const std::string object_;
  const Rank own_;
  copy::Reach& reach_;
  const Window& window_;
  std::vector<std::atomic<group::Control*>> mapped_;
  std::atomic<std::uint32_t> losses_{0};
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Peer> peers_;
  std::size_t linked_ = 0;  // so far, own rank included
  Status broken_;
};

}  // namespace memfabric::shm
