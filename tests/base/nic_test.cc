// What set_nic and its brothers take.

#include "base/nic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/addresses.h"

namespace memfabric {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// "interface", or "host/bits:port".
std::string Parsed(std::string_view text) {
  auto nics = ParseNics(text);
  if (!nics.ok()) return nics.status().message();
  std::string all;
  for (const Nic& nic : *nics) {
    all += all.empty() ? "" : " ";
    all += nic.interface.empty() ? fmt::format("{}/{}:{}", nic.host, nic.mask_bits, nic.port)
                                 : nic.interface;
  }
  return all;
}

TEST(Nic, NamesAnAddressASubnetOrAnInterface) {
  EXPECT_EQ(Parsed(""), "");
  EXPECT_EQ(Parsed("tcp://10.0.0.1:7000"), "10.0.0.1/32:7000");
  EXPECT_EQ(Parsed("tcp://10.0.0.1:0"), "10.0.0.1/32:0");
  EXPECT_EQ(Parsed("tcp://10.0.0.1"), "10.0.0.1/32:0");
  EXPECT_EQ(Parsed("tcp://10.0.0.0/8:7000"), "10.0.0.0/8:7000");
  EXPECT_EQ(Parsed("tcp://10.0.0.0/8"), "10.0.0.0/8:0");
  EXPECT_EQ(Parsed("tcp://[fd00::]/64:1"), "fd00::/64:1");
  EXPECT_EQ(Parsed("tcp://[fe80::1%eth0]:8570"), "fe80::1%eth0/128:8570");
  EXPECT_EQ(Parsed("bond0.100"), "bond0.100");
  EXPECT_EQ(Parsed("eth0,tcp://10.0.0.1:2,eth1"), "eth0 10.0.0.1/32:2 eth1");
}

TEST(Nic, LeavesTheChoiceOpen) {
  for (const char* text : {"tcp://0.0.0.0:9", "tcp://0.0.0.0/24:9", "tcp://[::]:9",
                           "tcp://[::]/128:9", "tcp://10.0.0.1/0:9"}) {
    auto nics = ParseNics(text);
    ASSERT_TRUE(nics.ok()) << nics.status();
    EXPECT_EQ(nics->front().host, "") << text;
    EXPECT_EQ(nics->front().port, 9);
  }
}

TEST(Nic, SaysWhatIsWrong) {
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"tcp://", "no numeric IPv4"},
           {"tcp://host:1", "'host' is no numeric"},
           {"tcp://::1:1", "no numeric"},
           {"tcp://[::1:1", "without a ']'"},
           {"tcp://[10.0.0.1]:1", "no numeric IPv6"},
           {"tcp://[fe80::1%]:1", "no numeric IPv6"},
           {"tcp://10.0.0.1:65536", "port '65536'"},
           {"tcp://10.0.0.1:-1", "port '-1'"},
           {"tcp://10.0.0.1:", "port ''"},
           {"tcp://10.0.0.1/33:1", "'33' is no number of mask bits from 0 to 32"},
           {"tcp://10.0.0.1/:1", "mask ''"},
           {"tcp://[::1]/129:1", "0 to 128"},
           {"tcp://[::1]x", "'x'"},
           {"udp://10.0.0.1:1", "neither"},
           {"eth 0", "neither"},
           {"eth0:1", "neither"},
           {std::string("eth0\0", 5), "neither"},
           {std::string(16, 'a'), "at most 15 bytes"},
           {std::string(64, 'a'), "64 bytes long, the limit is 63"},
           {"eth0,", "comma"},
           {",eth0", "comma"},
       }) {
    auto nics = ParseNics(text);
    EXPECT_TRUE(IsInvalidArgument(nics.status())) << text;
    EXPECT_THAT(nics.status().message(), AllOf(HasSubstr("nic"), HasSubstr(words)));
  }
}

TEST(Addresses, KeepTheirZone) {
  const HostPort local{"fe80::1%lo", 7};
  const SocketAddress address = ToSocketAddress(local);
  ASSERT_NE(address.size_bytes, 0U);
  EXPECT_NE(reinterpret_cast<const sockaddr_in6*>(address.get())->sin6_scope_id, 0U);
  EXPECT_EQ(FromSocketAddress(address.get()), local);
  EXPECT_EQ(ToSocketAddress({"fe80::1%nosuch0", 7}).size_bytes, 0U);
  EXPECT_EQ(ToSocketAddress({"host", 7}).size_bytes, 0U);
}

TEST(Addresses, KnowLoopbackWhenItIsSaid) {
  for (const char* host : {"127.0.0.1", "127.0.1.1", "::1", "::ffff:127.0.0.1", "localhost",
                           "LocalHost", "a.localhost."})
    EXPECT_TRUE(NamesLoopback(host)) << host;
  for (const char* host :
       {"10.0.0.1", "::", "0.0.0.0", "node-a", "localhost.example", "mylocalhost"})
    EXPECT_FALSE(NamesLoopback(host)) << host;
}

}  // namespace
}  // namespace memfabric
