// What something else has written where members' records stand: who isn't concerned goes on, who is
// gets an error that names the record.

#include "cluster/rank_process.h"
#include "store/client/client.h"
#include "store/recipes/keys.h"
#include "store/recipes/records.h"

namespace memfabric::cluster {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Deadline Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(20); }

class ForeignRecords : public ::testing::Test {
 protected:
  void SetUp() override {
    ranks_ = StartRanks(url_, 2, 4);
    auto url = ParseStoreUrl(url_);
    ASSERT_TRUE(url.ok());
    auto connected = store::Client::Connect(*url, {}, Soon());
    ASSERT_TRUE(connected.ok()) << connected.status();
    client_ = std::move(*connected);
  }
  void Put(const std::string& key, const std::string& value) {
    EXPECT_TRUE(client_->Put(key, value, store::kNoLease, Soon()).ok());
  }
  void Delete(const std::string& key) { EXPECT_TRUE(client_->Delete(key, Soon()).ok()); }

  const std::string url_ = FreeUrl();
  const store::Keys keys_{""};
  std::vector<std::unique_ptr<RankProcess>> ranks_;
  std::unique_ptr<store::Client> client_;
};

TEST_F(ForeignRecords, AmongAPoolsMembersAreNoMembers) {
  All(ranks_, "create 0 0x200000 0");
  ASSERT_CODE(0, ranks_[0]->Do("join 0"));
  for (const char* value :
       {"hello", "", "[1, 2]", "{\"rank\": \"three\"}", "{\"rank\": 99}",
        "{\"rank\": 3, \"pid\": -1}", "{\"rank\": 3, \"transports\": 7}", "\xff\xfe"})
    Put(keys_.PoolMember(0, 3), value);
  Put(keys_.Pool(0) + "readme", "not a rank");
  Put(keys_.PoolMember(0, 2), std::string(1 << 20, 'x'));  // long
  Put(keys_.Pool(0) + "0003/more", "{}");
  Put("/other" + keys_.PoolMember(0, 1), "another prefix");
  ASSERT_CODE(0, ranks_[1]->Do("join 0"));
  EXPECT_CODE(0, ranks_[0]->Do("fill 0 1 host 0 4096 1"));
  EXPECT_CODE(0, ranks_[1]->Do("load 0 1 host 0 4096 1"));
  EXPECT_CODE(-2014, ranks_[0]->Do("fill 0 3 host 0 4096 1"));
  EXPECT_CODE(0, ranks_[1]->Do("members 0"));
  // Who is in truth rank 3 writes over it.
  RankProcess third;
  ASSERT_CODE(0, third.Do("init " + url_ + " 4 3"));
  ASSERT_CODE(0, third.Do("create 0 0x200000 0"));
  ASSERT_CODE(0, third.Do("join 0"));
  EXPECT_CODE(0, ranks_[0]->Do("fill 0 3 host 0 4096 2"));
  EXPECT_CODE(0, third.Do("load 0 3 host 0 4096 2"));
}

TEST_F(ForeignRecords, InAPlaceThatIsNeededAreNamed) {
  std::string window = keys_.Window(1, 3);
  Put(window, "hello");
  Answer create = ranks_[0]->Do("create 1 0x200000 0");
  EXPECT_NE(0, create.code);
  EXPECT_THAT(create.text, AllOf(HasSubstr(window), HasSubstr("hello")));
  Delete(window);
  EXPECT_CODE(0, ranks_[0]->Do("create 1 0x200000 0"));

  std::string rank = keys_.Rank(3);
  Put(rank, "{\"rank\": 3, \"pid\": \"me\"}");
  RankProcess third;
  Answer init = third.Do("init " + url_ + " 4 3");
  EXPECT_NE(0, init.code);
  EXPECT_THAT(init.text, AllOf(HasSubstr(rank), HasSubstr("can't be read")));
  Delete(rank);
  EXPECT_CODE(0, third.Do("init " + url_ + " 4 3"));
}

TEST_F(ForeignRecords, OfAnotherProtocolVersionAreNamedWithBoth) {
  All(ranks_, "create 0 0x200000 0");
  ASSERT_CODE(0, ranks_[0]->Do("join 0"));
  auto entry = client_->Get(keys_.PoolMember(0, 0), Soon());
  ASSERT_TRUE(entry.ok() && entry->has_value());
  auto record = store::DecodePoolRecord(**entry);
  ASSERT_TRUE(record.ok()) << record.status();
  record->set_rank(3);
  record->set_protocol(record->protocol() + 1);
  record->set_host_name("newer");
  Put(keys_.PoolMember(0, 3), store::EncodeRecord(*record));
  Answer refused = ranks_[1]->Do("join 0");
  EXPECT_EQ(-2000, refused.code) << refused.text;
  EXPECT_THAT(refused.text, AllOf(HasSubstr("rank 3 (host newer"), HasSubstr("protocol 2"),
                                  HasSubstr("this process 1")));
  Delete(keys_.PoolMember(0, 3));
  EXPECT_CODE(0, ranks_[1]->Do("join 0"));
}

}  // namespace
}  // namespace memfabric::cluster
