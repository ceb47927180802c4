// store/embedded/state.h: all that the embedded server knows, and its calls, without gRPC, threads
// or a clock.
//
// Calls fill the response and return null, or leave it to be thrown away and return why they were
// refused. After each, the owner of the state tells the readers of watches().TakeReady().
//
// Owner: Core. Threads: one at a time.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "store/embedded/kv.h"
#include "store/embedded/lease_table.h"
#include "store/embedded/mvcc.h"
#include "store/embedded/refusal.h"
#include "store/embedded/watch_hub.h"
#include "store/proto/rpc.pb.h"

namespace memfabric::store {

class State {
 public:
  // How often Tick wants to be called while there are leases, so that it sees when the process has
  // been stopped.
  static constexpr std::chrono::milliseconds kTickPeriod{1000};
  // A tick that comes later than this means that the process was stopped, rather than busy.
  static constexpr std::chrono::milliseconds kLate{250};
  static constexpr std::chrono::minutes kProgressPeriod{10};  // etcd's

  // `identity` tells this server's state from any other's.
  explicit State(std::uint64_t identity, Mvcc::Limits limits = {})
      : identity_(identity),
        mvcc_(limits),
        leases_(identity),
        kv_(mvcc_, leases_),
        watches_(mvcc_) {}

  Refusal Range(const etcdserverpb::RangeRequest& request,
                etcdserverpb::RangeResponse* response) const;
  Refusal Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response);
  Refusal DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                      etcdserverpb::DeleteRangeResponse* response);
  Refusal Txn(const etcdserverpb::TxnRequest& request, etcdserverpb::TxnResponse* response);
  Refusal Compact(const etcdserverpb::CompactionRequest& request,
                  etcdserverpb::CompactionResponse* response);

  Refusal LeaseGrant(const etcdserverpb::LeaseGrantRequest& request, TimePoint now,
                     etcdserverpb::LeaseGrantResponse* response);
  Refusal LeaseRevoke(const etcdserverpb::LeaseRevokeRequest& request,
                      etcdserverpb::LeaseRevokeResponse* response);
  void LeaseKeepAlive(const etcdserverpb::LeaseKeepAliveRequest& request, TimePoint now,
                      etcdserverpb::LeaseKeepAliveResponse* response);
  void LeaseTimeToLive(const etcdserverpb::LeaseTimeToLiveRequest& request, TimePoint now,
                       etcdserverpb::LeaseTimeToLiveResponse* response) const;
  void LeaseLeases(etcdserverpb::LeaseLeasesResponse* response) const;

  void SetClientUrl(std::string url) { client_url_ = std::move(url); }  // that MemberList tells
  void MemberList(etcdserverpb::MemberListResponse* response) const;
  void Status(etcdserverpb::StatusResponse* response) const;
  // Lists NOSPACE from a write that was refused for want of room until there is room again, or it
  // is disarmed.
  void Alarm(const etcdserverpb::AlarmRequest& request, etcdserverpb::AlarmResponse* response);

  // Ends the leases whose time has come and sends progress; returns when it wants to be called
  // next. When it comes much later than it asked for, the process was stopped, and so may its
  // clients' keep-alives have been: all leases get that time back. When nearly all leases fall
  // silent at once, they get grace (LeaseTable::SpareTheSilent).
  TimePoint Tick(TimePoint now);
  // The time that Tick asked for is too late since something was added.
  bool WantsEarlierTick(TimePoint now) const;

  WatchHub& watches() { return watches_; }
  const Mvcc& mvcc() const { return mvcc_; }
  const LeaseTable& leases() const { return leases_; }
  const Kv& kv() const { return kv_; }
  // but for a revision that is set already
  void FillHeader(etcdserverpb::ResponseHeader* header) const;

 private:
  void Commit();
  Refusal Noted(Refusal refusal);
  bool NeedsTicks() const { return leases_.size() > 0 || watches_.wants_progress(); }

  const std::uint64_t identity_;
  Mvcc mvcc_;
  LeaseTable leases_;
  Kv kv_;
  WatchHub watches_;
  std::string client_url_;
  bool is_full_ = false;
  std::optional<TimePoint> last_tick_;
  TimePoint next_tick_;
  TimePoint next_progress_;
};

}  // namespace memfabric::store
