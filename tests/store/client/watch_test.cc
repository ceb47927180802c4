// Watches: nothing lost, nothing twice, whatever becomes of the connection, the history and the
// store.

#include <grpcpp/grpcpp.h>

#include <thread>

#include "store/client/proxy.h"
#include "store/client/test_store.h"
#include "store/proto/rpc.grpc.pb.h"

namespace memfabric::store::test {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

class WatchTest : public testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override {
    writer_ = ConnectTo(store_.address());
    reader_ = ConnectTo(proxy_.address());
    ASSERT_NE(writer_, nullptr);
    ASSERT_NE(reader_, nullptr);
  }

  void Put(const std::string& key, const std::string& value) {
    EXPECT_OK(writer_->Put(key, value, kNoLease, Soon()));
  }

  TestStore store_{GetParam()};
  Proxy proxy_{store_.address()};
  std::unique_ptr<Client> writer_;
  std::unique_ptr<Client> reader_;
};

TEST_P(WatchTest, TellsPutsAndDeletesBelowItsPrefixInOrder) {
  Put("w/old", "0");
  auto snapshot = reader_->GetPrefix("w/", Soon());
  ASSERT_OK(snapshot);
  Shared<Told> told;
  auto watch = reader_->WatchPrefix("w/", snapshot->revision + 1, TellTo(told));
  Put("w/a", "1");
  Put("x", "no");
  ASSERT_OK(writer_->Delete("w/a", Soon()));
  Put("w/b", "2");
  ASSERT_TRUE(told.Await([](const Told& all) { return all.events.size() >= 3; }));
  auto events = told.Copy().events;
  ASSERT_THAT(events, SizeIs(3));
  EXPECT_EQ(events[0].entry.key, "w/a");
  EXPECT_EQ(events[1].type, WatchEvent::Type::kDelete);
  EXPECT_EQ(events[1].entry.key, "w/a");
  EXPECT_EQ(events[2].entry.value, "2");
  EXPECT_THAT(told.Copy().resets, SizeIs(0));
}

TEST_P(WatchTest, WithoutAStartBeginsWithWhatStands) {
  Put("w/a", "1");
  Shared<Told> told;
  auto watch = reader_->WatchPrefix("w/", 0, TellTo(told));
  ASSERT_TRUE(told.Await([](const Told& all) { return !all.resets.empty(); }));
  Put("w/b", "2");
  ASSERT_TRUE(told.Await([](const Told& all) { return all.events.size() == 1; }));
  EXPECT_THAT(told.Copy().resets[0].entries, SizeIs(1));
  EXPECT_THAT(told.Copy().replaced, ElementsAre(false));
}

TEST_P(WatchTest, TenThousandEventsComeOnceEachWhileTheConnectionIsCutAgainAndAgain) {
  constexpr int kEvents = 10'000;
  constexpr int kATransaction = 50;
  constexpr int kCutEvery = 700;
  Shared<Told> told;
  auto watch = reader_->WatchPrefix("n/", 1, TellTo(told));
  std::thread putting([&] {
    for (int i = 0; i < kEvents; i += kATransaction) {
      Transaction transaction;
      for (int j = i; j < i + kATransaction; ++j)
        transaction.then.push_back({.type = Operation::Type::kPut,
                                    .key = fmt::format("n/{}", j),
                                    .value = std::to_string(j)});
      EXPECT_OK(writer_->Commit(transaction, Soon()));
    }
  });
  for (std::size_t seen = 0; seen < kEvents - kCutEvery; seen += kCutEvery) {
    EXPECT_TRUE(told.Await([&](const Told& all) { return all.events.size() >= seen; }));
    std::size_t before = proxy_.connections_made();
    proxy_.Cut();
    for (auto give_up = Soon();
         proxy_.connections_made() == before && std::chrono::steady_clock::now() < give_up;)
      std::this_thread::yield();
  }
  putting.join();
  EXPECT_TRUE(told.Await([](const Told& all) { return all.events.size() >= kEvents; }));
  // One more, so that a repeated one before it would show.
  Put("n/last", std::to_string(kEvents));
  EXPECT_TRUE(told.Await([](const Told& all) { return all.events.back().entry.key == "n/last"; }));
  auto all = told.Copy();
  ASSERT_THAT(all.events, SizeIs(kEvents + 1));
  for (int i = 0; i <= kEvents; ++i) ASSERT_EQ(all.events[i].entry.value, std::to_string(i));
  EXPECT_THAT(all.resets, SizeIs(0));
  EXPECT_GT(proxy_.connections_made(), kEvents / kCutEvery - 1U);
}

TEST_P(WatchTest, ManyWatchesShareOneConnection) {
  constexpr int kWatches = 100;
  std::vector<std::unique_ptr<Shared<Told>>> told;
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < kWatches; ++i) {
    told.push_back(std::make_unique<Shared<Told>>());
    watches.push_back(reader_->WatchPrefix(fmt::format("m/{}/", i), 1, TellTo(*told.back())));
  }
  // Every second ends before anything happens.
  for (int i = 0; i < kWatches; i += 2) watches[i].reset();
  for (int i = 0; i < kWatches; ++i) Put(fmt::format("m/{}/k", i), std::to_string(i));
  for (int i = 1; i < kWatches; i += 2) {
    ASSERT_TRUE(told[i]->Await([](const Told& all) { return !all.events.empty(); }));
    EXPECT_EQ(told[i]->Copy().events[0].entry.value, std::to_string(i));
  }
  for (int i = 0; i < kWatches; i += 2) EXPECT_THAT(told[i]->Copy().events, SizeIs(0));
  // one, and a second try or two on a machine that is busy; not one a watch
  EXPECT_LE(proxy_.connections_made(), 3U);
}

TEST_P(WatchTest, BeginsAnewWhenTheHistoryIsGone) {
  Shared<Told> told;
  auto watch = reader_->WatchPrefix("c/", 1, TellTo(told));
  Put("c/a", "1");
  ASSERT_TRUE(told.Await([](const Told& all) { return all.events.size() == 1; }));
  proxy_.Refuse(true);
  Put("c/a", "2");
  Put("c/b", "3");
  auto revision = writer_->Put("c/b", "4", kNoLease, Soon());
  ASSERT_OK(revision);
  auto kv = etcdserverpb::KV::NewStub(
      grpc::CreateChannel(store_.address().ToString(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kBound);
  etcdserverpb::CompactionRequest request;
  etcdserverpb::CompactionResponse response;
  request.set_revision(*revision);
  auto compacted = kv->Compact(&context, request, &response);
  ASSERT_TRUE(compacted.ok()) << compacted.error_message();
  proxy_.Refuse(false);

  ASSERT_TRUE(told.Await([](const Told& all) { return all.resets.size() == 1; }));
  Put("c/c", "5");
  ASSERT_TRUE(told.Await([](const Told& all) { return all.events.size() == 1; }));
  auto all = told.Copy();
  EXPECT_THAT(all.replaced, ElementsAre(false));
  ASSERT_THAT(all.resets[0].entries, SizeIs(2));
  EXPECT_EQ(all.resets[0].entries[1].value, "4");
  EXPECT_EQ(all.events[0].entry.key, "c/c");
}

TEST_P(WatchTest, BeginsAnewWhenAnotherStoreAnswersWhoseRevisionIsHigher) {
  TestStore other(GetParam());
  auto other_writer = ConnectTo(other.address());
  ASSERT_NE(other_writer, nullptr);
  for (int i = 0; i < 20; ++i)
    ASSERT_OK(other_writer->Put("r/b", std::to_string(i), kNoLease, Soon()));
  Put("r/a", "1");
  Shared<Told> told;
  auto watch = reader_->WatchPrefix("r/", 0, TellTo(told));
  ASSERT_TRUE(told.Await([](const Told& all) { return all.resets.size() == 1; }));
  auto before = reader_->identity();

  proxy_.PointTo(other.address());
  ASSERT_TRUE(told.Await([](const Told& all) { return all.resets.size() == 2; }));
  ASSERT_OK(other_writer->Put("r/c", "x", kNoLease, Soon()));
  ASSERT_TRUE(told.Await([](const Told& all) { return all.events.size() == 1; }));
  auto all = told.Copy();
  EXPECT_THAT(all.replaced, ElementsAre(false, true));
  ASSERT_THAT(all.resets[1].entries, SizeIs(1));
  EXPECT_EQ(all.resets[1].entries[0].value, "19");
  EXPECT_EQ(all.events[0].entry.key, "r/c");
  EXPECT_FALSE(reader_->identity() == before);
}

TEST_P(WatchTest, AHandlerMayBeginAWatchAndEndItsOwn) {
  Shared<std::string> read;
  Shared<Told> other;
  std::unique_ptr<Watch> watch;
  std::unique_ptr<Watch> later;
  Shared<bool> made;
  watch = reader_->WatchPrefix(
      "h/", 1,
      {.on_events =
           [&](const auto& events) {
             ASSERT_TRUE(made.Await([](bool value) { return value; }));
             later = reader_->WatchPrefix("h/", 1, TellTo(other));
             watch.reset();
             read.Change([&](std::string& value) { value += events[0].entry.value; });
           },
       .on_reset = [](const Snapshot&, bool) { FAIL() << "nothing was compacted"; }});
  made.Change([](bool& value) { value = true; });
  Put("h/a", "1");
  ASSERT_TRUE(read.Await([](const std::string& value) { return !value.empty(); }));
  Put("h/a", "2");
  ASSERT_TRUE(other.Await([](const Told& all) { return all.events.size() == 2; }));
  EXPECT_EQ(read.Copy(), "1");
}

TEST_P(WatchTest, NoCallComesOnceItHasEnded) {
  for (int round = 0; round < 20; ++round) {
    auto told = std::make_unique<Shared<Told>>();
    auto watch = reader_->WatchPrefix("e/", 1, TellTo(*told));
    std::thread putting([&] {
      for (int i = 0; i < 5; ++i) Put("e/a", std::to_string(i));
    });
    EXPECT_TRUE(told->Await([](const Told& all) { return !all.events.empty(); }));
    watch.reset();
    told.reset();  // a later call would write to freed memory
    putting.join();
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, WatchTest, testing::Values(StoreKind::kEmbedded, StoreKind::kEtcd),
                         KindText);

}  // namespace
}  // namespace memfabric::store::test
