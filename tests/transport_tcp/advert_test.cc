#include "transport/tcp/advert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace memfabric::transport::tcp {
namespace {

using testing::HasSubstr;

const std::string kKey(64, 'a');
const std::string kGood = "memfabric-tcp/1 address=10.0.0.1:4711 encrypt=0 key=" + kKey;

TEST(TcpAdvert, SaysWhatWasPutIn) {
  for (const char* host : {"10.0.0.1", "fd00::1", "127.0.0.1"}) {
    Advert advert;
    advert.address = {host, 4711};
    advert.encrypt = true;
    for (std::size_t i = 0; i < kKeyBytes; ++i) advert.key[i] = static_cast<unsigned char>(7 * i);
    auto again = ParseAdvert(EncodeAdvert(advert));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, advert);
  }
}

TEST(TcpAdvert, LaterVersionsMayAddFields) {
  auto advert = ParseAdvert("memfabric-tcp/1 rails=2 key=" + kKey +
                            " address=[fd00::1]:1 colour=blue encrypt=1");
  ASSERT_TRUE(advert.ok()) << advert.status();
  EXPECT_EQ(advert->address.host, "fd00::1");
  EXPECT_TRUE(advert->encrypt);
}

TEST(TcpAdvert, WhatIsNoneIsRefusedWithoutTellingTheKey) {
  ASSERT_TRUE(ParseAdvert(kGood).ok());
  for (std::string text :
       {std::string(), std::string("tcp://nowhere"), "memfabric-tcp/2" + kGood.substr(15),
        kGood + " ", kGood + "a", kGood.substr(0, kGood.size() - 1), kGood + " encrypt=1",
        kGood + " x", kGood + " =x",
        std::string("memfabric-tcp/1 address=host.name:1 encrypt=0 key=") + kKey,
        std::string("memfabric-tcp/1 address=10.0.0.1:0 encrypt=0 key=") + kKey,
        std::string("memfabric-tcp/1 address=10.0.0.1:1 encrypt=2 key=") + kKey,
        std::string("memfabric-tcp/1 encrypt=0 key=") + kKey, kGood + "\n",
        kGood + std::string(2000, 'x')}) {
    auto advert = ParseAdvert(text);
    EXPECT_FALSE(advert.ok()) << text;
    EXPECT_THAT(advert.status().message(), testing::Not(HasSubstr("aaaa")));
  }
}

}  // namespace
}  // namespace memfabric::transport::tcp
