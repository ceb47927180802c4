// Requests made of arbitrary bytes against the store's logic. Whatever comes: no crash, and the
// rules that clients build on hold. Each byte string is a sequence of {kind, size, message}.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "base/log.h"
#include "store/embedded/state.h"

namespace {

using namespace memfabric;  // NOLINT(google-build-using-namespace): this program has nothing else
using namespace memfabric::store;  // NOLINT(google-build-using-namespace)

// A watch of everything, whose events must add up to what a range shows.
class Mirror final : public WatchSession::Reader {
 public:
  explicit Mirror(State& state) : state_(state), session_(state.watches(), *this) { Watch(0); }
  void OnReady() override {}

  void Take() {
    (void)state_.watches().TakeReady();
    etcdserverpb::WatchResponse response;
    while (session_.taken() && session_.Next(&response)) {
      // so much was deleted at once that it begins anew, as clients do
      if (response.compact_revision() != 0) {
        kvs_.clear();
        for (const mvccpb::KeyValue& kv : Everything().kvs()) kvs_[kv.key()] = kv;
        Watch(state_.mvcc().revision() + 1);
      }
      for (const mvccpb::Event& event : response.events()) {
        CHECK(event.kv().mod_revision() >= told_);
        told_ = event.kv().mod_revision();
        if (event.type() == mvccpb::Event::PUT) {
          kvs_[event.kv().key()] = event.kv();
        } else {
          CHECK(kvs_.erase(event.kv().key()) == 1);
        }
      }
    }
  }

  void CompareWithRange() const {
    const etcdserverpb::RangeResponse response = Everything();
    CHECK(response.kvs_size() == static_cast<int>(kvs_.size()));
    for (const mvccpb::KeyValue& kv : response.kvs()) {
      auto known = kvs_.find(kv.key());
      CHECK(known != kvs_.end() && known->second.SerializeAsString() == kv.SerializeAsString());
      CHECK(kv.create_revision() <= kv.mod_revision() &&
            kv.mod_revision() <= state_.mvcc().revision());
      if (kv.lease() == 0) continue;
      const LeaseTable::Lease* lease = state_.leases().Find(kv.lease());
      CHECK(lease != nullptr && lease->keys.contains(kv.key()));
    }
  }

 private:
  void Watch(std::int64_t start_revision) {
    etcdserverpb::WatchRequest request;
    request.mutable_create_request()->set_range_end(std::string(1, '\0'));
    request.mutable_create_request()->set_start_revision(start_revision);
    session_.Handle(request);
  }
  etcdserverpb::RangeResponse Everything() const {
    etcdserverpb::RangeRequest request;
    etcdserverpb::RangeResponse response;
    request.set_key(std::string(1, '\0'));
    request.set_range_end(std::string(1, '\0'));
    CHECK(state_.Range(request, &response) == nullptr);
    return response;
  }

  State& state_;
  WatchSession session_;
  std::map<std::string, mvccpb::KeyValue> kvs_;
  std::int64_t told_ = 0;
};

class Client final : public WatchSession::Reader {
 public:
  explicit Client(State& state) : state_(state), session_(state.watches(), *this) {}
  void OnReady() override {}
  void Handle(const etcdserverpb::WatchRequest& request) {
    if (!session_.IsFull()) session_.Handle(request);
  }
  void TakeOne() {
    (void)state_.watches().TakeReady();
    etcdserverpb::WatchResponse response;
    if (session_.taken()) (void)session_.Next(&response);
  }

 private:
  State& state_;
  WatchSession session_;
};

template <typename Request, typename Response, typename Call>
void Try(std::string_view bytes, const State& state, Call call) {
  Request request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  Response response;
  const std::int64_t before = state.mvcc().revision();
  const Refusal refusal = call(request, &response);
  const std::int64_t after = state.mvcc().revision();
  if (refusal != nullptr) {
    CHECK(before == after);
    return;
  }
  CHECK(after == before || after == before + 1);
  CHECK(response.header().revision() <= after);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace etcdserverpb;  // NOLINT(google-build-using-namespace)
  State state(1, {.revisions = 20, .bytes = 4096});
  Mirror mirror(state);
  Client client(state);
  TimePoint now{std::chrono::hours(1)};
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (rest.size() >= 2) {
    const int kind = static_cast<unsigned char>(rest[0]) % 11;
    const std::string_view bytes = rest.substr(2, static_cast<unsigned char>(rest[1]));
    rest.remove_prefix(2 + bytes.size());
    switch (kind) {
      case 0:
        Try<RangeRequest, RangeResponse>(bytes, state,
                                         [&](auto& in, auto* out) { return state.Range(in, out); });
        break;
      case 1:
        Try<PutRequest, PutResponse>(bytes, state,
                                     [&](auto& in, auto* out) { return state.Put(in, out); });
        break;
      case 2:
        Try<DeleteRangeRequest, DeleteRangeResponse>(
            bytes, state, [&](auto& in, auto* out) { return state.DeleteRange(in, out); });
        break;
      case 3:
        Try<TxnRequest, TxnResponse>(bytes, state,
                                     [&](auto& in, auto* out) { return state.Txn(in, out); });
        break;
      case 4:
        Try<CompactionRequest, CompactionResponse>(
            bytes, state, [&](auto& in, auto* out) { return state.Compact(in, out); });
        break;
      case 5:
        Try<LeaseGrantRequest, LeaseGrantResponse>(
            bytes, state, [&](auto& in, auto* out) { return state.LeaseGrant(in, now, out); });
        break;
      case 6:
        Try<LeaseRevokeRequest, LeaseRevokeResponse>(
            bytes, state, [&](auto& in, auto* out) { return state.LeaseRevoke(in, out); });
        break;
      case 7:
        Try<LeaseTimeToLiveRequest, LeaseTimeToLiveResponse>(bytes, state,
                                                             [&](auto& in, auto* out) -> Refusal {
                                                               state.LeaseTimeToLive(in, now, out);
                                                               return nullptr;
                                                             });
        break;
      case 8: {
        WatchRequest request;
        if (request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
          client.Handle(request);
        break;
      }
      case 9: client.TakeOne(); break;
      default: now += std::chrono::milliseconds(bytes.size() * 50); (void)state.Tick(now);
    }
    mirror.Take();
  }
  mirror.CompareWithRange();
  return 0;
}
