// Rank claims: one holder a rank, whatever the number of contenders, and the dead are replaced.

#include "store/recipes/rank_claim.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "store/client/test_store.h"
#include "store/recipes/records.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

// A process of its own would have these.
struct Contender {
  explicit Contender(const HostPort& address, std::string host = "this host",
                     std::int64_t pid = 4711)
      : host(std::move(host)), pid(pid), client(ConnectTo(address)) {
    auto opened = Session::Open(*client, nullptr, Soon());
    EXPECT_OK(opened);
    session = std::move(*opened);
  }

  Result<Rank> Claim(std::optional<Rank> rank, std::uint32_t world_size, bool others_live = true,
                     Deadline deadline = Soon()) {
    ClaimOptions options{
        .rank = rank, .world_size = world_size, .record = {}, .is_alive = [=](const std::string&) {
          return others_live;
        }};
    options.record.set_host(host);
    options.record.set_host_name(host + ".example");
    options.record.set_pid(pid);
    options.record.set_world_size(world_size);
    return ClaimRank(*client, *session, Keys(""), options, deadline);
  }

  std::string host;
  std::int64_t pid;
  std::unique_ptr<Client> client;
  std::unique_ptr<Session> session;
};

class RankClaimTest : public testing::TestWithParam<StoreKind> {
 protected:
  TestStore store_{GetParam()};
};

class ContendersTest : public testing::TestWithParam<std::tuple<StoreKind, int>> {
 protected:
  TestStore store_{std::get<0>(GetParam())};
};

TEST_P(ContendersTest, ShareTheLowestRanksWithoutGaps) {
  const int count = std::get<1>(GetParam());
  std::vector<std::unique_ptr<Contender>> contenders;
  for (int i = 0; i < count; ++i)
    contenders.push_back(std::make_unique<Contender>(store_.address()));
  std::vector<Rank> ranks(count, kNoRank);
  std::vector<std::thread> threads;
  auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      auto rank = contenders[i]->Claim(std::nullopt, kMaxWorldSize);
      EXPECT_OK(rank);
      if (rank.ok()) ranks[i] = *rank;
    });
  for (auto& thread : threads) thread.join();
  RecordProperty("claim_ms", std::to_string(std::chrono::duration_cast<milliseconds>(
                                                std::chrono::steady_clock::now() - began)
                                                .count()));
  std::ranges::sort(ranks);
  for (int i = 0; i < count; ++i) EXPECT_EQ(ranks[i], static_cast<Rank>(i));
  // All left the queue.
  auto waiting = contenders[0]->client->GetPrefix(Keys("").Waiting(), Soon());
  ASSERT_OK(waiting);
  EXPECT_TRUE(waiting->entries.empty());
}

INSTANTIATE_TEST_SUITE_P(Stores, ContendersTest,
                         testing::Combine(testing::Values(StoreKind::kEmbedded, StoreKind::kEtcd),
                                          testing::Values(1, 2, 3, 8, 64)),
                         [](const auto& info) {
                           return fmt::format("{}{}",
                                              std::get<0>(info.param) == StoreKind::kEmbedded
                                                  ? "Embedded"
                                                  : "Etcd",
                                              std::get<1>(info.param));
                         });

TEST_P(RankClaimTest, GivesTheRankThatWasAskedForAndRecordsIt) {
  Contender contender(store_.address());
  auto rank = contender.Claim(5, 8);
  ASSERT_OK(rank);
  EXPECT_EQ(*rank, 5U);
  auto entry = contender.client->Get(Keys("").Rank(5), Soon());
  ASSERT_OK(entry);
  ASSERT_TRUE(entry->has_value());
  EXPECT_EQ((*entry)->lease, contender.session->lease());
  auto record = DecodeRankRecord(**entry);
  ASSERT_OK(record);
  EXPECT_EQ(record->rank(), 5U);
  EXPECT_EQ(record->pid(), 4711);
  EXPECT_THAT(contender.Claim(8, 8), IsKind(Kind::kInvalidArgument));
}

TEST_P(RankClaimTest, OneOfManyGetsTheRankThatAllAskFor) {
  std::vector<std::unique_ptr<Contender>> contenders;
  for (int i = 0; i < 8; ++i) contenders.push_back(std::make_unique<Contender>(store_.address()));
  std::atomic<int> won{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (auto& contender : contenders)
    threads.emplace_back([&] {
      auto rank = contender->Claim(3, 8);
      if (rank.ok()) ++won;
      if (IsAlreadyExists(rank.status())) ++refused;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(refused, 7);
}

TEST_P(RankClaimTest, RefusesAtOnceWhatALiveProcessOfThisHostHolds) {
  Contender holder(store_.address(), "this host", 1234);
  ASSERT_OK(holder.Claim(0, 2));
  Contender second(store_.address());
  auto began = std::chrono::steady_clock::now();
  auto rank = second.Claim(0, 2);
  EXPECT_THAT(rank, IsKind(Kind::kAlreadyExists));
  EXPECT_THAT(rank.status().message(),
              testing::AllOf(HasSubstr("1234"), HasSubstr("this host.example")));
  EXPECT_LT(std::chrono::steady_clock::now() - began, seconds(1));
}

TEST_P(RankClaimTest, ReplacesADeadProcessOfThisHostAtOnceWithAllThatItHadPublished) {
  Contender dead(store_.address());
  ASSERT_OK(dead.Claim(0, 2));
  ASSERT_OK(dead.session->Publish(Keys("").PoolMember(1, 0), "{}", Soon()));
  Contender heir(store_.address(), "this host", 5678);
  auto began = std::chrono::steady_clock::now();
  auto rank = heir.Claim(0, 2, /*others_live=*/false);
  ASSERT_OK(rank);
  EXPECT_LT(std::chrono::steady_clock::now() - began, seconds(1));
  auto member = heir.client->Get(Keys("").PoolMember(1, 0), Soon());
  ASSERT_OK(member);
  EXPECT_FALSE(member->has_value());
}

TEST_P(RankClaimTest, RefusesWhatALiveProcessElsewhereHoldsOnceItsLeaseWasRenewed) {
  Contender holder(store_.address(), "other host");
  ASSERT_OK(holder.Claim(0, 2));
  Contender second(store_.address());
  auto began = std::chrono::steady_clock::now();
  auto rank = second.Claim(0, 2, /*others_live=*/false);
  EXPECT_THAT(rank, IsKind(Kind::kAlreadyExists));
  EXPECT_LT(std::chrono::steady_clock::now() - began, seconds(3));
}

TEST_P(RankClaimTest, ReplacesADeadProcessElsewhereWhenItsLeaseEnds) {
  auto client = ConnectTo(store_.address());
  ASSERT_NE(client, nullptr);
  auto lease = client->GrantLease(kSessionTimeToLive, Soon());  // nobody renews it
  ASSERT_OK(lease);
  RankRecord record;
  record.set_host("other host");
  record.set_pid(1);
  record.set_world_size(2);
  ASSERT_OK(client->Put(Keys("").Rank(0), EncodeRecord(record), *lease, Soon()));
  Contender heir(store_.address());
  EXPECT_THAT(heir.Claim(0, 2, true, In(milliseconds(300))), IsKind(Kind::kDeadlineExceeded));
  EXPECT_OK(heir.Claim(0, 2));
}

TEST_P(RankClaimTest, SaysThatAllRanksAreTakenAndTakesThoseOfTheDead) {
  std::vector<std::unique_ptr<Contender>> holders;
  for (Rank rank = 0; rank < 3; ++rank) {
    holders.push_back(std::make_unique<Contender>(store_.address()));
    ASSERT_OK(holders.back()->Claim(rank, 3));
  }
  Contender fourth(store_.address());
  auto rank = fourth.Claim(std::nullopt, 3);
  EXPECT_THAT(rank, IsKind(Kind::kInUse));
  EXPECT_THAT(rank.status().message(), HasSubstr("all 3 ranks are taken"));
  rank = fourth.Claim(std::nullopt, 3, /*others_live=*/false);
  ASSERT_OK(rank);
  EXPECT_EQ(*rank, 0U);
}

TEST_P(RankClaimTest, KeepsTheRanksOfAHostTogether) {
  std::map<std::pair<std::string, Rank>, std::unique_ptr<Contender>> ranks;
  auto claim = [&](const std::string& host, std::optional<Rank> asked) {
    auto contender = std::make_unique<Contender>(store_.address(), host);
    auto rank = contender->Claim(asked, 16);
    EXPECT_OK(rank);
    if (rank.ok()) ranks[{host, *rank}] = std::move(contender);
    return rank.ok() ? *rank : kNoRank;
  };
  EXPECT_EQ(claim("a", std::nullopt), 0U);
  EXPECT_EQ(claim("a", std::nullopt), 1U);
  EXPECT_EQ(claim("b", 8), 8U);
  EXPECT_EQ(claim("b", std::nullopt), 7U);
  EXPECT_EQ(claim("a", std::nullopt), 2U);
  EXPECT_EQ(claim("b", std::nullopt), 6U);
  EXPECT_EQ(claim("c", std::nullopt), 3U);
  EXPECT_EQ(claim("a", std::nullopt), 4U) << "none is free next to a's others: the lowest";
  ranks.erase({"a", 1});
  EXPECT_EQ(claim("b", std::nullopt), 5U);
  EXPECT_EQ(claim("b", std::nullopt), 9U);
  EXPECT_EQ(claim("a", std::nullopt), 1U);
}

TEST_P(RankClaimTest, WaitsUntilAStoreThatTookOverHasRecovered) {
  auto client = ConnectTo(store_.address());
  ASSERT_NE(client, nullptr);
  ASSERT_OK(client->Put(Keys("").Recovering(), "", kNoLease, Soon()));
  Contender contender(store_.address());
  EXPECT_THAT(contender.Claim(0, 2, true, In(milliseconds(200))), IsKind(Kind::kDeadlineExceeded));
  EXPECT_THAT(contender.Claim(std::nullopt, 2, true, In(milliseconds(200))),
              IsKind(Kind::kDeadlineExceeded));
  Status claimed;
  std::thread claiming([&] { claimed = contender.Claim(0, 2).status(); });
  ASSERT_OK(client->Delete(Keys("").Recovering(), Soon()));
  claiming.join();
  EXPECT_OK(claimed);
}

TEST_P(RankClaimTest, ARecordThatCannotBeReadIsAnErrorThatNamesIt) {
  Contender contender(store_.address());
  ASSERT_OK(contender.client->Put(Keys("").Rank(1), "{no json", kNoLease, Soon()));
  for (auto rank : {std::optional<Rank>(1), std::optional<Rank>()}) {
    auto claimed = contender.Claim(rank, 2);
    EXPECT_THAT(claimed, IsKind(Kind::kIoError));
    EXPECT_THAT(claimed.status().message(), HasSubstr("ranks/0001"));
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, RankClaimTest,
                         testing::Values(StoreKind::kEmbedded, StoreKind::kEtcd), KindText);

}  // namespace
}  // namespace memfabric::store::test
