#include "store/embedded/state.h"

#include <algorithm>

#include "base/log.h"
#include "base/units.h"

namespace memfabric::store {
namespace {

constexpr char kName[] = "memfabric";
constexpr char kVersion[] = "3.4.0+memfabric";  // of the API that is served
constexpr std::uint64_t kTerm = 1;              // nobody else could ever be elected

// The member's id and the cluster's both come from the state's identity, but differ.
std::uint64_t MemberId(std::uint64_t identity) { return identity ^ 0x9e3779b97f4a7c15; }

std::int64_t WholeSeconds(std::chrono::nanoseconds time) {
  return std::max<std::int64_t>(0, std::chrono::floor<std::chrono::seconds>(time).count());
}

}  // namespace

void State::FillHeader(etcdserverpb::ResponseHeader* header) const {
  header->set_cluster_id(identity_);
  header->set_member_id(MemberId(identity_));
  header->set_raft_term(kTerm);
  if (header->revision() == 0) header->set_revision(mvcc_.revision());
}

void State::Commit() {
  if (const Mvcc::Commit* commit = mvcc_.CommitOpen()) watches_.OnCommit(*commit);
  mvcc_.CompactToLimits();
  if (is_full_ && mvcc_.live_bytes() <= mvcc_.most_live_bytes() / 8 * 7) {
    is_full_ = false;
    LOG(kWarn, "store: there is room again: {} of {}", SizeText(mvcc_.live_bytes()),
        SizeText(mvcc_.most_live_bytes()));
  }
}

Refusal State::Noted(Refusal refusal) {
  if (refusal != &kNoSpace || is_full_) return refusal;
  is_full_ = true;
  LOG(kError,
      "store: it is full: {} of {} stand there, and a write was refused; delete what isn't needed, "
      "or set "
      "MEMFABRIC_STORE_QUOTA to more where it is served",
      SizeText(mvcc_.live_bytes()), SizeText(mvcc_.most_live_bytes()));
  return refusal;
}

Refusal State::Range(const etcdserverpb::RangeRequest& request,
                     etcdserverpb::RangeResponse* response) const {
  if (Refusal refusal = kv_.Range(request, response)) return refusal;
  FillHeader(response->mutable_header());
  return nullptr;
}

Refusal State::Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response) {
  if (Refusal refusal = kv_.Put(request, response)) return Noted(refusal);
  Commit();
  FillHeader(response->mutable_header());
  return nullptr;
}

Refusal State::DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                           etcdserverpb::DeleteRangeResponse* response) {
  if (Refusal refusal = kv_.DeleteRange(request, response)) return refusal;
  Commit();
  FillHeader(response->mutable_header());
  return nullptr;
}

Refusal State::Txn(const etcdserverpb::TxnRequest& request, etcdserverpb::TxnResponse* response) {
  if (Refusal refusal = kv_.Txn(request, response)) return Noted(refusal);
  Commit();
  FillHeader(response->mutable_header());
  return nullptr;
}

Refusal State::Compact(const etcdserverpb::CompactionRequest& request,
                       etcdserverpb::CompactionResponse* response) {
  if (Refusal refusal = mvcc_.Compact(request.revision())) return refusal;
  FillHeader(response->mutable_header());
  return nullptr;
}

Refusal State::LeaseGrant(const etcdserverpb::LeaseGrantRequest& request, TimePoint now,
                          etcdserverpb::LeaseGrantResponse* response) {
  std::int64_t id = request.id();
  std::int64_t seconds = request.ttl();
  if (Refusal refusal = leases_.Grant(&id, &seconds, now)) return refusal;
  FillHeader(response->mutable_header());
  response->set_id(id);
  response->set_ttl(seconds);
  return nullptr;
}

Refusal State::LeaseRevoke(const etcdserverpb::LeaseRevokeRequest& request,
                           etcdserverpb::LeaseRevokeResponse* response) {
  const auto keys = leases_.Remove(request.id());
  if (!keys) return &kLeaseNotFound;
  kv_.DeleteKeys(*keys);
  Commit();
  FillHeader(response->mutable_header());
  return nullptr;
}

void State::LeaseKeepAlive(const etcdserverpb::LeaseKeepAliveRequest& request, TimePoint now,
                           etcdserverpb::LeaseKeepAliveResponse* response) {
  const LeaseTable::Lease* lease = leases_.KeepAlive(request.id(), now);
  FillHeader(response->mutable_header());
  response->set_id(request.id());
  response->set_ttl(lease == nullptr ? 0 : lease->granted_seconds);
}

void State::LeaseTimeToLive(const etcdserverpb::LeaseTimeToLiveRequest& request, TimePoint now,
                            etcdserverpb::LeaseTimeToLiveResponse* response) const {
  FillHeader(response->mutable_header());
  response->set_id(request.id());
  const LeaseTable::Lease* lease = leases_.Find(request.id());
  if (lease == nullptr) {
    response->set_ttl(-1);
    return;
  }
  response->set_ttl(WholeSeconds(lease->end - now));
  response->set_grantedttl(lease->granted_seconds);
  if (!request.keys()) return;
  for (const std::string& key : lease->keys) response->add_keys(key);
}

void State::LeaseLeases(etcdserverpb::LeaseLeasesResponse* response) const {
  FillHeader(response->mutable_header());
  for (std::int64_t id : leases_.Ids()) response->add_leases()->set_id(id);
}

void State::MemberList(etcdserverpb::MemberListResponse* response) const {
  FillHeader(response->mutable_header());
  etcdserverpb::Member* member = response->add_members();
  member->set_id(MemberId(identity_));
  member->set_name(kName);
  member->add_clienturls(client_url_);
}

void State::Status(etcdserverpb::StatusResponse* response) const {
  FillHeader(response->mutable_header());
  response->set_version(kVersion);
  response->set_leader(MemberId(identity_));
  response->set_raftterm(kTerm);
  response->set_raftindex(static_cast<std::uint64_t>(mvcc_.revision()));
  response->set_raftappliedindex(static_cast<std::uint64_t>(mvcc_.revision()));
  response->set_dbsize(static_cast<std::int64_t>(mvcc_.live_bytes() + mvcc_.history_bytes()));
  response->set_dbsizeinuse(static_cast<std::int64_t>(mvcc_.live_bytes()));
}

void State::Alarm(const etcdserverpb::AlarmRequest& request,
                  etcdserverpb::AlarmResponse* response) {
  using etcdserverpb::AlarmRequest;
  FillHeader(response->mutable_header());
  const bool is_meant =
      request.alarm() == etcdserverpb::NONE || request.alarm() == etcdserverpb::NOSPACE;
  if (!is_full_ || !is_meant || request.action() == AlarmRequest::ACTIVATE) return;
  auto* alarm = response->add_alarms();
  alarm->set_memberid(MemberId(identity_));
  alarm->set_alarm(etcdserverpb::NOSPACE);
  if (request.action() == AlarmRequest::DEACTIVATE) is_full_ = false;
}

TimePoint State::Tick(TimePoint now) {
  if (last_tick_ && now - next_tick_ > kLate) leases_.ExtendAll(now - *last_tick_);
  leases_.EndGrace(now);
  if (std::size_t spared = leases_.SpareTheSilent(now); spared > 0)
    LOG(kWarn,
        "store: {} of {} leases have not been kept alive, so it is this store that can't be "
        "reached: they get {} times their "
        "time "
        "more",
        spared, leases_.size(), LeaseTable::kGrace);
  for (std::int64_t id : leases_.Ended(now)) {
    etcdserverpb::LeaseRevokeRequest request;
    etcdserverpb::LeaseRevokeResponse response;
    request.set_id(id);
    (void)LeaseRevoke(request, &response);
  }
  if (now >= next_progress_) {
    watches_.NotifyProgress();
    next_progress_ = now + kProgressPeriod;
  }
  last_tick_ = now;
  next_tick_ = NeedsTicks() ? now + kTickPeriod : now + std::chrono::hours(1);
  if (auto end = leases_.NextEnd()) next_tick_ = std::min(next_tick_, *end);
  if (watches_.wants_progress()) next_tick_ = std::min(next_tick_, next_progress_);
  return next_tick_;
}

bool State::WantsEarlierTick(TimePoint now) const {
  return NeedsTicks() && next_tick_ > now + kTickPeriod;
}

}  // namespace memfabric::store
