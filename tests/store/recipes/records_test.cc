// Records as they stand in the store, and what is no record.

#include "store/recipes/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/recipes/host_identity.h"
#include "store/recipes/keys.h"

namespace memfabric::store {
namespace {

using testing::AllOf;
using testing::HasSubstr;

KeyValue Entry(const std::string& key, const std::string& value) {
  KeyValue entry;
  entry.key = key;
  entry.value = value;
  return entry;
}

TEST(RecordsTest, ComeBackAsTheyWent) {
  PoolRecord record;
  record.set_rank(3);
  record.set_epoch(~0ULL);
  record.set_host("id");
  record.set_host_name("näme");
  record.set_pid(17);
  record.set_host_bytes(1ULL << 40);
  (*record.mutable_transports())["mapped"] = "socket \"x\"\n";
  auto text = EncodeRecord(record);
  EXPECT_THAT(text, HasSubstr("\"host_bytes\":\"1099511627776\""));
  auto back = DecodePoolRecord(Entry(Keys("/p").PoolMember(12, 3), text));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->SerializeAsString().size(), record.SerializeAsString().size());
  EXPECT_EQ(back->epoch(), record.epoch());
  EXPECT_EQ(back->transports().at("mapped"), "socket \"x\"\n");
}

TEST(RecordsTest, FieldsOfLaterVersionsAreIgnored) {
  auto record = DecodeRankRecord(
      Entry(Keys("").Rank(1), R"({"rank":1,"pid":"5","world_size":4,"later":{"x":[1]}})"));
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->pid(), 5);
}

TEST(RecordsTest, WhatIsNoneIsAnErrorThatNamesItsKey) {
  const std::string key = Keys("").Rank(1);
  const std::pair<std::string, std::string> cases[] = {
      {"", "can't be read"},
      {"{", "can't be read"},
      {"[]", "can't be read"},
      {R"({"rank":"x"})", "can't be read"},
      {R"({"rank":-1})", "can't be read"},
      {R"({"rank":99999999999})", "can't be read"},
      {std::string(1 << 21, '['), "2 MiB"},
      {std::string(10'000, '['), "can't be read"},
      {R"({"rank":2,"pid":1,"world_size":4})", "rank 2 isn't its key's"},
      {R"({"rank":1,"pid":0,"world_size":4})", "pid 0"},
      {R"({"rank":1,"pid":1,"world_size":0})", "world_size 0"},
      {R"({"rank":1,"pid":1,"world_size":1025})", "world_size 1025"},
      {R"({"rank":1,"pid":1,"world_size":4,"host":")" + std::string(2000, 'h') + "\"}",
       "host has 2000 bytes"},
  };
  for (const auto& [value, what] : cases) {
    auto record = DecodeRankRecord(Entry(key, value));
    EXPECT_TRUE(IsIoError(record.status())) << record.status();
    EXPECT_THAT(record.status().message(), AllOf(HasSubstr(key), HasSubstr(what)));
  }
  EXPECT_TRUE(IsIoError(
      DecodeRankRecord(Entry("somewhere/else", R"({"rank":1,"pid":1,"world_size":4})")).status()));
  EXPECT_TRUE(IsIoError(
      DecodeWindowRecord(
          Entry(Keys("").Window(1, 1),
                R"({"rank":1,"pid":1,"world_size":4,"max_host_bytes":"9223372036854775807"})"))
          .status()));
}

TEST(KeysTest, StandBelowTheirPrefixAndNameTheirRank) {
  Keys keys("/job");
  EXPECT_EQ(keys.Rank(3), "/job/memfabric/1/ranks/0003");
  EXPECT_EQ(keys.Window(12, 1023), "/job/memfabric/1/windows/12/1023");
  EXPECT_TRUE(keys.PoolMember(1, 0).starts_with(keys.Pool(1)));
  EXPECT_FALSE(keys.PoolMember(12, 0).starts_with(keys.Pool(1)));
  EXPECT_EQ(Keys::RankOf(keys.Rank(7)), 7U);
  for (const char* key : {"", "x", "a/", "a/12x", "a/1024", "a/-1", "a/99999999999"})
    EXPECT_EQ(Keys::RankOf(key), std::nullopt) << key;
}

TEST(KeysTest, OfEnginesAreApartWhateverTheirNames) {
  Keys keys("");
  EXPECT_EQ(keys.EngineRecord("10.0.0.1:5000_x"), "/memfabric/1/engines/10.0.0.1:5000_x/engine");
  EXPECT_EQ(keys.Engine("a %/ü"), "/memfabric/1/engines/a%20%25%2f%c3%bc/");
  EXPECT_FALSE(keys.EngineRecord("ab").starts_with(keys.Engine("a")));
  EXPECT_TRUE(keys.EngineRecord("a").starts_with(keys.Engines()));
}

TEST(RecordsTest, AnEngineThatIsNone) {
  const std::string key = Keys("").EngineRecord("a");
  EXPECT_TRUE(DecodeEngineRecord(Entry(key, R"({"pid":1,"member":5})")).ok());
  for (const char* bad :
       {"", R"({"pid":0})", R"({"pid":1,"member":2147483648})", R"({"pid":1,"member":-1})"}) {
    auto record = DecodeEngineRecord(Entry(key, bad));
    EXPECT_THAT(record.status().message(), HasSubstr(key)) << bad;
  }
}

TEST(HostIdentityTest, IsTheSameAtEachCallAndCanBeGiven) {
  EXPECT_EQ(HostIdentity(), HostIdentity());
  EXPECT_FALSE(HostName().empty());
  auto own = HostIdentity();
  setenv("MEMFABRIC_HOST_ID", "another", 1);
  EXPECT_EQ(HostIdentity(), "another");
  unsetenv("MEMFABRIC_HOST_ID");
  EXPECT_EQ(HostIdentity(), own);
}

}  // namespace
}  // namespace memfabric::store
