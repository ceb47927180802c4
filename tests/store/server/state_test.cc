// The server's logic without gRPC: revisions, history, leases and watches, by a clock that the test
// turns.

#include "store/embedded/state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "store/embedded/answer_budget.h"
#include "support/fake_clock.h"

namespace memfabric::store {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::chrono_literals;

constexpr char kEverything[] = "\0";

// A watch stream of which a test takes the messages one by one.
class Reader final : public WatchSession::Reader {
 public:
  explicit Reader(State& state) : session_(state.watches(), *this), state_(state) {}

  void OnReady() override {}
  void Watch(const std::string& begin, const std::string& end, std::int64_t start_revision = 0) {
    etcdserverpb::WatchRequest request;
    request.mutable_create_request()->set_key(begin);
    request.mutable_create_request()->set_range_end(end);
    request.mutable_create_request()->set_start_revision(start_revision);
    session_.Handle(request);
  }
  void Cancel(std::int64_t id) {
    etcdserverpb::WatchRequest request;
    request.mutable_cancel_request()->set_watch_id(id);
    session_.Handle(request);
  }
  void AskForProgress() {
    etcdserverpb::WatchRequest request;
    request.mutable_progress_request();
    session_.Handle(request);
  }
  WatchSession& session() { return session_; }

  std::vector<etcdserverpb::WatchResponse> TakeAll() {
    state_.watches().TakeReady();
    std::vector<etcdserverpb::WatchResponse> all;
    etcdserverpb::WatchResponse response;
    while (session_.taken() && session_.Next(&response)) all.push_back(response);
    return all;
  }
  // "created", "canceled", "compacted 7", "progress 9", "+key@revision", "-key@revision"
  std::vector<std::string> TakeLines() {
    std::vector<std::string> lines;
    for (const auto& response : TakeAll()) {
      if (response.created()) lines.push_back("created");
      if (response.compact_revision() != 0)
        lines.push_back("compacted " + std::to_string(response.compact_revision()));
      if (response.canceled() && response.compact_revision() == 0) lines.push_back("canceled");
      if (!response.created() && !response.canceled() && response.events_size() == 0)
        lines.push_back("progress " + std::to_string(response.header().revision()));
      for (const mvccpb::Event& event : response.events())
        lines.push_back((event.type() == mvccpb::Event::PUT ? "+" : "-") + event.kv().key() + "@" +
                        std::to_string(event.kv().mod_revision()));
    }
    return lines;
  }

 private:
  WatchSession session_;
  State& state_;
};

class StateTest : public testing::Test {
 protected:
  std::int64_t Put(const std::string& key, const std::string& value = "", std::int64_t lease = 0) {
    etcdserverpb::PutRequest request;
    etcdserverpb::PutResponse response;
    request.set_key(key);
    request.set_value(value);
    request.set_lease(lease);
    EXPECT_EQ(state_.Put(request, &response), nullptr);
    return response.header().revision();
  }
  void Delete(const std::string& key) {
    etcdserverpb::DeleteRangeRequest request;
    etcdserverpb::DeleteRangeResponse response;
    request.set_key(key);
    EXPECT_EQ(state_.DeleteRange(request, &response), nullptr);
  }
  Refusal Get(const std::string& key, std::int64_t revision,
              etcdserverpb::RangeResponse* response) {
    etcdserverpb::RangeRequest request;
    request.set_key(key);
    request.set_revision(revision);
    response->Clear();
    return state_.Range(request, response);
  }
  bool Exists(const std::string& key) {
    etcdserverpb::RangeResponse response;
    EXPECT_EQ(Get(key, 0, &response), nullptr);
    return response.count() == 1;
  }
  std::int64_t Grant(std::int64_t seconds) {
    etcdserverpb::LeaseGrantRequest request;
    etcdserverpb::LeaseGrantResponse response;
    request.set_ttl(seconds);
    EXPECT_EQ(state_.LeaseGrant(request, clock_.Now(), &response), nullptr);
    return response.id();
  }
  void KeepAlive(std::int64_t lease) {
    etcdserverpb::LeaseKeepAliveRequest request;
    etcdserverpb::LeaseKeepAliveResponse response;
    request.set_id(lease);
    state_.LeaseKeepAlive(request, clock_.Now(), &response);
  }
  std::int64_t SecondsLeft(std::int64_t lease) {
    etcdserverpb::LeaseTimeToLiveRequest request;
    etcdserverpb::LeaseTimeToLiveResponse response;
    request.set_id(lease);
    state_.LeaseTimeToLive(request, clock_.Now(), &response);
    return response.ttl();
  }
  // As the server's thread does: ticks whenever the state asked for it, until `time` has passed.
  void Pass(std::chrono::nanoseconds time) {
    const TimePoint end = clock_.Now() + time;
    TimePoint next = state_.Tick(clock_.Now());
    while (next < end) {
      clock_.Advance(next - clock_.Now());
      next = state_.Tick(clock_.Now());
    }
    clock_.Advance(end - clock_.Now());
  }

  explicit StateTest(Mvcc::Limits limits = {.revisions = 100, .bytes = 1 << 20})
      : state_(42, limits) {}

  FakeClock clock_;
  State state_;
};

class FullStateTest : public StateTest {
 protected:
  FullStateTest()
      : StateTest(Mvcc::Limits{.revisions = 100, .bytes = 1 << 20, .live_bytes = 1 << 20}) {}

  Refusal TryPut(const std::string& key, std::size_t bytes) {
    etcdserverpb::PutRequest request;
    etcdserverpb::PutResponse response;
    request.set_key(key);
    request.set_value(std::string(bytes, 'v'));
    return state_.Put(request, &response);
  }
  int Alarms(etcdserverpb::AlarmRequest::AlarmAction action = etcdserverpb::AlarmRequest::GET) {
    etcdserverpb::AlarmRequest request;
    etcdserverpb::AlarmResponse response;
    request.set_action(action);
    state_.Alarm(request, &response);
    for (const auto& alarm : response.alarms()) EXPECT_EQ(alarm.alarm(), etcdserverpb::NOSPACE);
    return response.alarms_size();
  }
};

TEST_F(FullStateTest, RefusesWhatDoesNotFitUntilThereIsRoom) {
  int fit = 0;
  while (TryPut("key" + std::to_string(fit), 50'000) == nullptr) ++fit;
  EXPECT_EQ(fit, 20);
  EXPECT_EQ(Alarms(), 1);
  EXPECT_EQ(TryPut("key", 50'000), &kNoSpace);
  EXPECT_EQ(TryPut("key0", 50'000), nullptr) << "nothing grows";
  EXPECT_EQ(TryPut("small", 10), nullptr) << "there is room for it";
  etcdserverpb::TxnRequest both;
  etcdserverpb::TxnResponse response;
  for (const char* key : {"one", "two"}) {
    auto* put = both.add_success()->mutable_request_put();
    put->set_key(key);
    put->set_value(std::string(40'000, 'v'));
  }
  EXPECT_EQ(state_.Txn(both, &response), &kNoSpace);
  EXPECT_FALSE(Exists("one"));
  const std::int64_t lease = Grant(10);
  EXPECT_GT(SecondsLeft(lease), 0) << "leases go on";
  Delete("key0");
  EXPECT_EQ(Alarms(), 1) << "a little room doesn't end it";
  Delete("key1");
  EXPECT_EQ(Alarms(), 0);
  EXPECT_EQ(TryPut("key0", 50'000), nullptr);
}

TEST_F(FullStateTest, TheAlarmCanBeDisarmedAndComesAgain) {
  while (TryPut("key" + std::to_string(state_.mvcc().revision()), 100'000) == nullptr) {
  }
  EXPECT_EQ(Alarms(etcdserverpb::AlarmRequest::DEACTIVATE), 1);
  EXPECT_EQ(Alarms(), 0);
  EXPECT_EQ(TryPut("more", 100'000), &kNoSpace);
  EXPECT_EQ(Alarms(), 1);
}

TEST_F(StateTest, RefusesKeysAbove64KiB) {
  etcdserverpb::PutRequest request;
  etcdserverpb::PutResponse response;
  request.set_key(std::string((64 << 10) + 1, 'k'));
  EXPECT_EQ(state_.Put(request, &response), &kKeyTooLarge);
  etcdserverpb::TxnRequest txn;
  etcdserverpb::TxnResponse done;
  *txn.add_success()->mutable_request_put() = request;
  EXPECT_EQ(state_.Txn(txn, &done), &kKeyTooLarge);
  request.set_key(std::string(64 << 10, 'k'));
  EXPECT_EQ(state_.Put(request, &response), nullptr);
}

TEST_F(StateTest, KnowsHowLargeAnAnswerIsBeforeItIsMade) {
  for (int i = 0; i < 10; ++i) Put("key" + std::to_string(i), std::string(10'000, 'v'));
  etcdserverpb::RangeRequest request;
  request.set_key("key");
  request.set_range_end("kez");
  etcdserverpb::RangeResponse response;
  ASSERT_EQ(state_.Range(request, &response), nullptr);
  EXPECT_GE(state_.kv().AnswerBytes(request), response.ByteSizeLong());
  EXPECT_LT(state_.kv().AnswerBytes(request), 110'000u);
  etcdserverpb::TxnRequest txn;
  *txn.add_failure()->mutable_request_range() = request;
  EXPECT_EQ(state_.kv().AnswerBytes(txn), state_.kv().AnswerBytes(request));
  request.set_limit(3);
  EXPECT_LT(state_.kv().AnswerBytes(request), 31'000u);
  request.set_count_only(true);
  EXPECT_EQ(state_.kv().AnswerBytes(request), 0u);
}

TEST(AnswerBudgetTest, LargeAnswersGoOneAfterTheOther) {
  struct Client final : AnswerBudget::Waiter {
    void OnAdmitted() override { ++admitted; }
    int admitted = 0;
  };
  using Turn = AnswerBudget::Turn;
  constexpr std::size_t kAll = AnswerBudget::kMostBytes;
  AnswerBudget budget;
  Client first, second, third, fourth;
  EXPECT_EQ(budget.Ask(first, 4 * kAll), Turn::kNow) << "alone, whatever its size";
  EXPECT_EQ(budget.Ask(second, kAll / 2), Turn::kLater);
  EXPECT_EQ(budget.Ask(third, kAll / 2), Turn::kLater);
  EXPECT_EQ(budget.Ask(fourth, 1), Turn::kLater) << "nobody is overtaken";
  EXPECT_TRUE(budget.Withdraw(third));
  budget.Release(4 * kAll);
  EXPECT_EQ(second.admitted + 10 * third.admitted + 100 * fourth.admitted, 101);
  EXPECT_FALSE(budget.Withdraw(second));
  EXPECT_EQ(budget.Ask(first, kAll), Turn::kLater);
  std::vector<Client> crowd(AnswerBudget::kMostWaiting);
  int never = 0;
  for (Client& client : crowd) never += budget.Ask(client, 1) == Turn::kNever ? 1 : 0;
  EXPECT_EQ(never, 1);
}

TEST_F(StateTest, CountsRevisionsFromOne) {
  EXPECT_EQ(state_.mvcc().revision(), 1);
  EXPECT_EQ(Put("a"), 2);
  Delete("absent");
  EXPECT_EQ(state_.mvcc().revision(), 2);
  Delete("a");
  EXPECT_EQ(state_.mvcc().revision(), 3);
}

TEST_F(StateTest, ForgetsTheOldestHistoryByItself) {
  for (int i = 0; i < 1000; ++i) Put("key", std::to_string(i));
  EXPECT_LE(state_.mvcc().history().size(), 113u);
  EXPECT_GE(state_.mvcc().history().size(), 100u);
  etcdserverpb::RangeResponse response;
  EXPECT_EQ(Get("key", 2, &response), &kCompacted);
  EXPECT_EQ(Get("key", state_.mvcc().compact_revision(), &response), nullptr);
  ASSERT_EQ(response.kvs_size(), 1);
  EXPECT_EQ(response.kvs(0).mod_revision(), state_.mvcc().compact_revision());
}

TEST_F(StateTest, ForgetsHistoryThatTakesTooMuchMemory) {
  for (int i = 0; i < 50; ++i) Put("key", std::string(100'000, 'v'));
  EXPECT_LE(state_.mvcc().history_bytes(), (1u << 20) * 9 / 8);
  EXPECT_GE(state_.mvcc().history().size(), 1u);
}

TEST_F(StateTest, ForgetsKeysThatAreDeleted) {
  for (int i = 0; i < 1000; ++i) {
    Put("key" + std::to_string(i));
    Delete("key" + std::to_string(i));
  }
  EXPECT_LE(state_.mvcc().key_count(), 113u);
  EXPECT_EQ(state_.mvcc().live_bytes(), 0u);
}

TEST_F(StateTest, EndsALeaseWhenItsTimeHasPassed) {
  const std::int64_t lease = Grant(3);
  Put("held", "", lease);
  Put("free");
  Pass(2999ms);
  EXPECT_TRUE(Exists("held"));
  Pass(1ms + 1ns);
  EXPECT_FALSE(Exists("held"));
  EXPECT_TRUE(Exists("free"));
  EXPECT_EQ(SecondsLeft(lease), -1);
}

TEST_F(StateTest, KeepsALeaseThatIsKeptAlive) {
  const std::int64_t lease = Grant(3);
  for (int i = 0; i < 10; ++i) {
    Pass(2s);
    KeepAlive(lease);
  }
  EXPECT_EQ(SecondsLeft(lease), 3);
  Pass(3s + 1ns);
  EXPECT_EQ(SecondsLeft(lease), -1);
}

TEST_F(StateTest, GivesBackTheTimeForWhichTheServerWasStopped) {
  const std::int64_t short_lease = Grant(3);
  const std::int64_t long_lease = Grant(60);
  Pass(1s);
  state_.Tick(clock_.Now());
  clock_.Advance(20s);  // nobody ticks
  state_.Tick(clock_.Now());
  EXPECT_EQ(SecondsLeft(short_lease), 2);
  EXPECT_EQ(SecondsLeft(long_lease), 59);
  Pass(2s + 1ns);
  EXPECT_EQ(SecondsLeft(short_lease), -1);
}

// A job's leases of 3 s, kept alive once a second by all of `living`.
class StoreCutOffTest : public StateTest {
 protected:
  void Begin(std::size_t ranks) {
    for (std::size_t i = 0; i < ranks; ++i) {
      leases_.push_back(Grant(3));
      Put(Key(i), "", leases_.back());
    }
    Live(3s, leases_);
  }
  // Each at its own moment of the second, as clients do.
  void Live(std::chrono::milliseconds time, const std::vector<std::int64_t>& living) {
    const auto step = 1ms * (1000 / std::max<std::size_t>(1, leases_.size()));
    for (auto passed = 0ms; passed < time; passed += 1000ms) {
      for (std::int64_t lease : leases_) {
        Pass(step);
        if (std::ranges::count(living, lease) != 0) KeepAlive(lease);
      }
      Pass(1000ms - step * leases_.size());
    }
  }
  static std::string Key(std::size_t rank) { return "rank/" + std::to_string(rank); }
  std::size_t Standing() {
    std::size_t standing = 0;
    for (std::size_t i = 0; i < leases_.size(); ++i) standing += Exists(Key(i)) ? 1 : 0;
    return standing;
  }

  std::vector<std::int64_t> leases_;
};

TEST_F(StoreCutOffTest, TakesNoLeaseOfACrowdThatItCouldNotHear) {
  Begin(128);
  Live(7s, {});  // a cut of 6 s, and the way back
  EXPECT_EQ(Standing(), 128u);
  Live(20s, leases_);
  EXPECT_EQ(Standing(), 128u);
}

TEST_F(StoreCutOffTest, TakesNoneWhenItsOwnHostsRanksWereHeardThroughout) {
  Begin(16);
  Live(8s, {leases_[0], leases_[1], leases_[2], leases_[3]});  // a quarter
  EXPECT_EQ(Standing(), 16u);
}

TEST_F(StoreCutOffTest, EndsThoseThatStaySilentOneByOneAndSoonOnceTheOthersAreBack) {
  Begin(16);
  Live(5s, {});
  EXPECT_EQ(Standing(), 16u);
  const std::vector<std::int64_t> back(leases_.begin(), leases_.begin() + 12);
  Live(2s, back);
  EXPECT_EQ(Standing(), 16u) << "they have their time from when the others came back";
  std::vector<std::size_t> seen;
  for (int i = 0; i < 5; ++i) {
    Live(1s, back);
    seen.push_back(Standing());
  }
  EXPECT_THAT(seen, testing::Contains(testing::AllOf(testing::Gt(12u), testing::Lt(16u))))
      << "not all at once";
  EXPECT_EQ(Standing(), 12u);
}

TEST_F(StoreCutOffTest, EndsAllOfAJobThatIsGoneInTheEnd) {
  Begin(16);
  Live(16s, {});
  EXPECT_EQ(Standing(), 0u);
  EXPECT_EQ(state_.leases().size(), 0u);
}

TEST_F(StoreCutOffTest, GraceIsGivenOnceUntilALeaseIsHeardAgain) {
  Begin(8);
  Live(8s, {});
  Live(3s, leases_);
  Live(8s, {});  // the next cut
  EXPECT_EQ(Standing(), 8u);
}

TEST_F(StoreCutOffTest, ASilentFewEndAfterTheirTimeAsEver) {
  Begin(64);
  const std::vector<std::int64_t> living(leases_.begin() + 17,
                                         // more than a quarter is silent: one host of four
                                         leases_.end());
  Live(4s, living);
  EXPECT_EQ(Standing(), living.size());
}

TEST_F(StoreCutOffTest, ASmallJobsEndAfterTheirTimeAsEver) {
  Begin(7);
  Live(4s, {});
  EXPECT_EQ(Standing(), 0u);
}

TEST_F(StateTest, AsksForNoTicksWhileThereIsNothingToEnd) {
  EXPECT_GE(state_.Tick(clock_.Now()), clock_.Now() + 10min);
  EXPECT_FALSE(state_.WantsEarlierTick(clock_.Now()));
  Grant(3);
  EXPECT_TRUE(state_.WantsEarlierTick(clock_.Now()));
  EXPECT_LE(state_.Tick(clock_.Now()), clock_.Now() + 1s);
  EXPECT_FALSE(state_.WantsEarlierTick(clock_.Now()));
}

TEST_F(StateTest, ChoosesLeasesThatDiffer) {
  EXPECT_NE(Grant(5), Grant(5));
  EXPECT_EQ(state_.leases().size(), 2u);
}

TEST_F(StateTest, TellsEachWatchWhatConcernsIt) {
  Reader one_key(state_), prefix(state_), range(state_), everything(state_);
  one_key.Watch("b", "");
  prefix.Watch("b", "c");
  range.Watch("ab", "ba");
  everything.Watch("", std::string(kEverything, 1));
  for (Reader* reader : {&one_key, &prefix, &range, &everything})
    EXPECT_THAT(reader->TakeLines(), ElementsAre("created"));
  for (const char* key : {"a", "ab", "b", "b/1", "ba", "c"}) Put(key);
  EXPECT_THAT(one_key.TakeLines(), ElementsAre("+b@4"));
  EXPECT_THAT(prefix.TakeLines(), ElementsAre("+b@4", "+b/1@5", "+ba@6"));
  EXPECT_THAT(range.TakeLines(), ElementsAre("+ab@3", "+b@4", "+b/1@5"));
  EXPECT_EQ(everything.TakeLines().size(), 6u);
  EXPECT_THAT(one_key.TakeLines(), IsEmpty());
}

TEST_F(StateTest, DoesNotTroubleAWatchWithWhatConcernsOthers) {
  Reader reader(state_);
  reader.Watch("mine", "");
  reader.TakeAll();
  Put("theirs");
  EXPECT_THAT(state_.watches().TakeReady(), IsEmpty());
  Put("mine");
  EXPECT_THAT(state_.watches().TakeReady(), ElementsAre(&reader));
  Put("mine");
  EXPECT_THAT(state_.watches().TakeReady(), IsEmpty())
      << "it has been told, and hasn't taken anything yet";
}

TEST_F(StateTest, ServesAWatchFromTheHistoryOnceAndInOrder) {
  for (int i = 0; i < 5; ++i) Put("k");
  Reader reader(state_);
  reader.Watch("k", "", 4);
  Put("k");
  EXPECT_THAT(reader.TakeLines(), ElementsAre("created", "+k@4", "+k@5", "+k@6", "+k@7"));
  Delete("k");
  EXPECT_THAT(reader.TakeLines(), ElementsAre("-k@8"));
}

TEST_F(StateTest, StartsAWatchInTheFuture) {
  Reader reader(state_);
  reader.Watch("k", "", 4);
  for (int i = 0; i < 4; ++i) Put("k");
  EXPECT_THAT(reader.TakeLines(), ElementsAre("created", "+k@4", "+k@5"));
}

TEST_F(StateTest, EndsAWatchThatFellBehindTheHistory) {
  Reader slow(state_), idle(state_);
  slow.Watch("busy", "");
  idle.Watch("idle", "");
  slow.TakeAll();
  idle.TakeAll();
  for (int i = 0; i < 500; ++i) Put("busy");
  const std::string compacted = "compacted " + std::to_string(state_.mvcc().compact_revision());
  EXPECT_THAT(slow.TakeLines(), ElementsAre(compacted));
  EXPECT_EQ(state_.watches().watch_count(), 1u);
  Put("idle");
  EXPECT_THAT(idle.TakeLines(), ElementsAre("+idle@502")) << "nothing that it watches was lost";
  Reader late(state_);
  late.Watch("busy", "", 5);
  EXPECT_THAT(late.TakeLines(), ElementsAre("created", compacted));
}

TEST_F(StateTest, SplitsWhatIsTooMuchForOneMessage) {
  State state(42);
  for (int i = 0; i < 5; ++i) {
    etcdserverpb::PutRequest request;
    etcdserverpb::PutResponse response;
    request.set_key("k");
    request.set_value(std::string(600'000, 'v'));
    ASSERT_EQ(state.Put(request, &response), nullptr);
  }
  Reader reader(state);
  reader.Watch("k", "", 2);
  std::vector<int> sizes;
  std::int64_t revision = 0;
  for (const auto& response : reader.TakeAll()) {
    sizes.push_back(response.events_size());
    revision = response.header().revision();
  }
  EXPECT_THAT(sizes, ElementsAre(0, 2, 2, 1));
  EXPECT_EQ(revision, 6);
}

TEST_F(StateTest, TellsProgressAfterTheEvents) {
  Reader reader(state_);
  reader.Watch("k", "");
  Put("k");
  reader.AskForProgress();
  EXPECT_THAT(reader.TakeLines(), ElementsAre("created", "+k@2", "progress 2"));
}

TEST_F(StateTest, TellsProgressNowAndThenToWhoAskedForIt) {
  Reader reader(state_);
  etcdserverpb::WatchRequest request;
  request.mutable_create_request()->set_key("k");
  request.mutable_create_request()->set_progress_notify(true);
  Pass(1s);
  reader.session().Handle(request);
  reader.TakeAll();
  Put("other");
  Pass(State::kProgressPeriod + 1ns);
  EXPECT_THAT(reader.TakeLines(), ElementsAre("progress 2"));
}

TEST_F(StateTest, TakesNoMoreRequestsThanItsClientTakesAnswers) {
  Reader reader(state_);
  std::size_t requests = 0;
  for (; !reader.session().IsFull() && requests < 1000; ++requests) reader.Watch("k", "");
  EXPECT_EQ(requests, WatchSession::kMostUnsent);
  EXPECT_EQ(reader.TakeAll().size(), requests);
  EXPECT_FALSE(reader.session().IsFull());
}

TEST_F(StateTest, ForgetsTheWatchesOfAStreamThatEnded) {
  auto reader = std::make_unique<Reader>(state_);
  reader->Watch("k", "");
  reader->Watch("k", "l");
  reader->Watch("a", "zz");
  reader->Cancel(1);
  EXPECT_EQ(state_.watches().watch_count(), 2u);
  Put("k");
  reader.reset();
  EXPECT_EQ(state_.watches().watch_count(), 0u);
  Put("k");
  EXPECT_THAT(state_.watches().TakeReady(), IsEmpty());
}

}  // namespace
}  // namespace memfabric::store
