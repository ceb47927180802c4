#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "transport/meeting/peer_protocol.h"

namespace memfabric::transport::meeting {
namespace {

using testing::HasSubstr;

Introduction SomeIntroduction() {
  Introduction introduction;
  introduction.key.fill(std::byte{0xab});
  introduction.pool = "job/7";
  introduction.from = 3;
  introduction.to = 1023;
  introduction.from_epoch = 0x1122'3344'5566'7788;
  introduction.to_epoch = 1;
  introduction.world_size = 1024;
  introduction.max_bytes = {0, 2_TiB};
  introduction.contribution = {{0, 1_GiB}, {false, true}, {false, true}};
  return introduction;
}

std::vector<Message> OneOfEach() {
  static const std::array<std::byte, 3> data{std::byte{1}, std::byte{2}, std::byte{3}};
  return {Hello{SomeIntroduction()},
          Welcome{SomeIntroduction()},
          Refused{Kind::kDisconnected, "rank 3 has left"},
          Duplicate{},
          Ready{},
          Grow{{{2_MiB, 4_MiB}, {true, true}, {}}},
          Grown{{2_MiB, 4_MiB}},
          Bye{},
          Data{data}};
}

TEST(LocalProtocolTest, EveryMessageParsesToItself) {
  for (const Message& message : OneOfEach()) {
    auto bytes = EncodeMessage(message);
    EXPECT_LE(bytes.size(), kMaxMessageBytes);
    auto parsed = ParseMessage(bytes);
    ASSERT_TRUE(parsed.ok()) << MessageName(message) << parsed.status();
    EXPECT_EQ(parsed->index(), message.index());
    EXPECT_EQ(EncodeMessage(*parsed), bytes) << MessageName(message);
  }
  auto hello = ParseMessage(EncodeMessage(OneOfEach()[0]));
  const auto& got = std::get<Hello>(*hello);
  EXPECT_EQ(got.pool, "job/7");
  EXPECT_EQ(got.from, 3u);
  EXPECT_EQ(got.from_epoch, 0x1122'3344'5566'7788u);
  EXPECT_EQ(got.max_bytes[1], 2_TiB);
  EXPECT_EQ(got.contribution.allocated_bytes[1], 1_GiB);
  EXPECT_TRUE(got.contribution.user_files[1]);
}

TEST(LocalProtocolTest, EveryOtherLengthIsRefused) {
  for (const Message& message : OneOfEach()) {
    if (std::holds_alternative<Data>(message)) continue;
    auto bytes = EncodeMessage(message);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(ParseMessage(std::span(bytes).first(size)).ok())
          << MessageName(message) << " of " << size;
    }
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(ParseMessage(bytes).ok()) << MessageName(message);
  }
}

TEST(LocalProtocolTest, UnusedBytesAreZero) {
  for (const Message& message : OneOfEach()) {
    auto bytes = EncodeMessage(message);
    if (bytes.back() != std::byte{0}) continue;
    bytes.back() = std::byte{1};
    EXPECT_FALSE(ParseMessage(bytes).ok()) << MessageName(message);
  }
}

TEST(LocalProtocolTest, AnotherVersionIsNamed) {
  auto bytes = EncodeMessage(Ready{});
  bytes[4] = std::byte{kProtocolVersion + 1};
  auto parsed = ParseMessage(bytes);
  EXPECT_TRUE(IsUnsupported(parsed.status())) << parsed.status();
  EXPECT_THAT(parsed.status().message(),
              HasSubstr(fmt::format("version {}, not {}", kProtocolVersion + 1, kProtocolVersion)));
}

TEST(LocalProtocolTest, ContributionsThatCantBeAreRefused) {
  // no multiple of 2 MiB
  for (const Contribution& contribution : {Contribution{{2_MiB + 1, 0}, {true, false}, {}},
                                           // a file of nothing
                                           Contribution{{0, 0}, {true, false}, {}},
                                           // a user's file that doesn't come
                                           Contribution{{2_MiB, 0}, {}, {true, false}}}) {
    EXPECT_TRUE(IsInvalidArgument(ParseMessage(EncodeMessage(Grow{contribution})).status()));
  }
  Introduction introduction = SomeIntroduction();
  introduction.contribution.allocated_bytes[1] = introduction.max_bytes[1] + 2_MiB;
  EXPECT_TRUE(IsInvalidArgument(ParseMessage(EncodeMessage(Hello{introduction})).status()));
}

TEST(LocalProtocolTest, RefusalsHaveAKnownKindAndPlainText) {
  EXPECT_FALSE(ParseMessage(EncodeMessage(Refused{Kind::kOk, "fine"})).ok());
  EXPECT_FALSE(ParseMessage(EncodeMessage(Refused{Kind::kInvalidArgument, "\x1b[31m"})).ok());
  auto parsed =
      ParseMessage(EncodeMessage(Refused{Kind::kInvalidArgument, std::string(1000, 'x')}));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(std::get<Refused>(*parsed).reason, std::string(kMaxReasonBytes, 'x'));
}

TEST(LocalProtocolTest, AdvertsParseToThemselvesAndNothingElseDoes) {
  Advert advert{"memfabric-port-0123", {}};
  advert.key.fill(std::byte{0x5f});
  std::string text = EncodeAdvert(advert);
  auto parsed = ParseAdvert(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->socket, advert.socket);
  EXPECT_EQ(parsed->key, advert.key);
  for (std::string bad : {std::string(), std::string("1"), std::string("1 a"), "2" + text.substr(1),
                          text + "0", text.substr(0, text.size() - 1) + "g",
                          "1  " + text.substr(text.rfind(' ') + 1), text + " x"}) {
    EXPECT_TRUE(IsInvalidArgument(ParseAdvert(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace memfabric::transport::meeting
