// Directories: who is there, through changes, resets and a store that replaces another.

#include "store/recipes/directory.h"

#include "store/client/proxy.h"
#include "store/client/test_store.h"
#include "store/recipes/session.h"
#include "support/fake_clock.h"

namespace memfabric::store::test {
namespace {

using testing::ElementsAre;

class DirectoryTest : public testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override {
    writer_ = ConnectTo(store_.address());
    reader_ = ConnectTo(proxy_.address());
    ASSERT_NE(writer_, nullptr);
    ASSERT_NE(reader_, nullptr);
  }

  void Follow() {
    Directory::Listener listener{
        .on_put =
            [this](const KeyValue& entry) {
              log_.Change([&](auto& all) { all.push_back("+" + entry.key + "=" + entry.value); });
            },
        .on_removed =
            [this](const KeyValue& entry) {
              log_.Change([&](auto& all) { all.push_back("-" + entry.key + "=" + entry.value); });
            }};
    auto directory = Directory::Follow(*reader_, "d/", std::move(listener), clock_, Soon());
    ASSERT_OK(directory);
    directory_ = std::move(*directory);
  }
  void Put(Client& client, const std::string& key, const std::string& value) {
    EXPECT_OK(client.Put(key, value, kNoLease, Soon()));
  }
  bool AwaitLog(std::size_t size) {
    return log_.Await([&](const auto& all) { return all.size() >= size; });
  }

  TestStore store_{GetParam()};
  Proxy proxy_{store_.address()};
  FakeClock clock_;
  std::unique_ptr<Client> writer_;
  std::unique_ptr<Client> reader_;
  Shared<std::vector<std::string>> log_;
  std::unique_ptr<Directory> directory_;
};

TEST_P(DirectoryTest, HasToldWhatStandsWhenItReturnsAndTellsChanges) {
  Put(*writer_, "d/a", "1");
  Put(*writer_, "d/b", "2");
  Follow();
  EXPECT_THAT(log_.Copy(), ElementsAre("+d/a=1", "+d/b=2"));
  Put(*writer_, "d/a", "1");  // the same again is no news
  Put(*writer_, "d/b", "3");
  ASSERT_OK(writer_->Delete("d/a", Soon()));
  ASSERT_TRUE(AwaitLog(4));
  EXPECT_THAT(log_.Copy(), ElementsAre("+d/a=1", "+d/b=2", "+d/b=3", "-d/a=1"));
}

TEST_P(DirectoryTest, GivesOwnersTimeToPublishAgainInAStoreThatReplacesAnother) {
  TestStore other(GetParam());
  auto other_writer = ConnectTo(other.address());
  ASSERT_NE(other_writer, nullptr);
  for (const char* key : {"d/back", "d/changed", "d/gone", "d/there"}) Put(*writer_, key, "1");
  Put(*other_writer, "d/there", "1");
  Put(*other_writer, "d/new", "1");
  Follow();
  ASSERT_TRUE(AwaitLog(4));
  log_.Change([](auto& all) { all.clear(); });

  auto until = clock_.Now() + kSessionTimeToLive;
  proxy_.PointTo(other.address());
  ASSERT_TRUE(clock_.AwaitWaiter(until));
  Put(*other_writer, "d/back", "1");
  Put(*other_writer, "d/changed", "2");
  ASSERT_TRUE(AwaitLog(2));
  EXPECT_THAT(log_.Copy(), ElementsAre("+d/new=1", "+d/changed=2"));
  clock_.Advance(kSessionTimeToLive);
  ASSERT_TRUE(AwaitLog(3));
  EXPECT_THAT(log_.Copy(), ElementsAre("+d/new=1", "+d/changed=2", "-d/gone=1"));
}

TEST_P(DirectoryTest, FollowEndsAtItsDeadline) {
  proxy_.Refuse(true);
  auto directory = Directory::Follow(
      *reader_, "d/", {.on_put = [](const KeyValue&) {}, .on_removed = [](const KeyValue&) {}},
      clock_, In(std::chrono::milliseconds(200)));
  EXPECT_THAT(directory, IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(directory.status().message(), testing::HasSubstr("d/"));
}

INSTANTIATE_TEST_SUITE_P(Stores, DirectoryTest,
                         testing::Values(StoreKind::kEmbedded, StoreKind::kEtcd), KindText);

}  // namespace
}  // namespace memfabric::store::test
