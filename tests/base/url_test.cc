#include "base/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace memfabric {
namespace {

using ::testing::HasSubstr;

TEST(StoreUrl, NamesOneTcpEndpoint) {
  for (auto [text, host, port] : std::vector<std::tuple<std::string, std::string, int>>{
           {"tcp://127.0.0.1:1", "127.0.0.1", 1},
           {"tcp://0.0.0.0:65535", "0.0.0.0", 65535},
           {"tcp://[::1]:5000", "::1", 5000},
           {"tcp://[fe80::1%eth0]:5000", "fe80::1%eth0", 5000},
           {"tcp://node-1.cluster_a.local:80", "node-1.cluster_a.local", 80},
           {"tcp://a:00080", "a", 80},
       }) {
    auto url = ParseStoreUrl(text);
    ASSERT_TRUE(url.ok()) << text << ": " << url.status();
    EXPECT_EQ(url->scheme, StoreUrl::Scheme::kTcp);
    ASSERT_EQ(url->endpoints.size(), 1u);
    EXPECT_EQ(url->endpoints[0].host, host);
    EXPECT_EQ(url->endpoints[0].port, port);
    EXPECT_EQ(url->prefix, "");
  }
}

TEST(StoreUrl, NamesAnEtcdClusterWithAPrefix) {
  auto url = ParseStoreUrl("etcd://h1:2379,[::2]:2380,10.0.0.3:2381/jobs/a//");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme, StoreUrl::Scheme::kEtcd);
  EXPECT_EQ(url->endpoints,
            (std::vector<HostPort>{{"h1", 2379}, {"::2", 2380}, {"10.0.0.3", 2381}}));
  EXPECT_EQ(url->prefix, "/jobs/a");
  EXPECT_EQ(url->ToString(), "etcd://h1:2379,[::2]:2380,10.0.0.3:2381/jobs/a");
  EXPECT_EQ(ParseStoreUrl("etcd://h1:1")->prefix, "");
  EXPECT_EQ(ParseStoreUrl("etcd://h1:1/")->prefix, "");
}

TEST(StoreUrl, PrintsWhatItParses) {
  for (const char* text :
       {"tcp://127.0.0.1:1", "tcp://[::1]:5000", "etcd://h1:1,h2:2/a/b", "etcd://[::1]:9"}) {
    auto url = ParseStoreUrl(text);
    ASSERT_TRUE(url.ok()) << text;
    EXPECT_EQ(url->ToString(), text);
  }
}

TEST(StoreUrl, ThatIsWrongIsRefusedAndThePartNamed) {
  for (auto [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "neither tcp:// nor etcd://"},
           {"http://h:1", "neither tcp:// nor etcd://"},
           {"TCP://h:1", "neither tcp:// nor etcd://"},
           {"tcp:/h:1", "neither tcp:// nor etcd://"},
           {"tcp://", "no port"},
           {"tcp://host", "no port"},
           {"tcp://:5000", "no host"},
           {"tcp://h:0", "port '0'"},
           {"tcp://h:65536", "port '65536'"},
           {"tcp://h:-1", "port '-1'"},
           {"tcp://h:+1", "port '+1'"},
           {"tcp://h: 1", "port ' 1'"},
           {"tcp://h:1x", "port '1x'"},
           {"tcp://h:", "port ''"},
           {"tcp://h:4294967297", "port '4294967297'"},
           {"tcp://h:1/prefix", "port '1/prefix'"},
           {"tcp://::1:5000", "brackets"},
           {"tcp://[::1]", "no port"},
           {"tcp://[::1:5000", "'[' without a ']'"},
           {"tcp://[127.0.0.1]:5000", "no IPv6 address"},
           {"tcp://[]:5000", "no IPv6 address"},
           {"tcp://[fe80::1%]:5000", "no IPv6 address"},
           {"tcp://[fe80::1%a b]:5000", "no IPv6 address"},
           {"tcp://[fe80::1%a%b]:5000", "no IPv6 address"},
           {"tcp://256.1.1.1:5000", "neither an IPv4 address nor a host name"},
           {"tcp://1.2.3:5000", "neither an IPv4 address nor a host name"},
           {"tcp://a b:5000", "neither an IPv4 address nor a host name"},
           {"tcp://-a:5000", "neither an IPv4 address nor a host name"},
           {"tcp://h1:1,h2:2", "no host"},
           {"etcd://", "no port"},
           {"etcd://h1:1/a\nb", "control character"},
           {"etcd://h1:1/" + std::string(600, 'p'), "at most 512"},
           {"etcd:///prefix", "no port"},
           {"etcd://h1:1,", "no port"},
           {"etcd://,h1:1", "no port"},
           {"etcd://h1:1,,h2:2", "no port"},
           {"etcd://h1:1,h2:x", "port 'x'"},
       }) {
    auto url = ParseStoreUrl(text);
    EXPECT_TRUE(IsInvalidArgument(url.status())) << text << ": " << url.status();
    EXPECT_THAT(url.status().message(), HasSubstr(part)) << text;
    EXPECT_THAT(url.status().message(), HasSubstr("'" + text + "'")) << text;
  }
}

TEST(StoreUrl, HostNamesHaveALimit) {
  EXPECT_TRUE(ParseStoreUrl("tcp://" + std::string(253, 'a') + ":1").ok());
  EXPECT_FALSE(ParseStoreUrl("tcp://" + std::string(254, 'a') + ":1").ok());
}

TEST(StoreUrl, PortZeroIsForThoseWhoAskForIt) {
  EXPECT_FALSE(ParseStoreUrl("tcp://h:0").ok());
  auto url = ParseStoreUrl("tcp://h:0", /*allow_port_zero=*/true);
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->endpoints[0].port, 0);
}

TEST(HostPort, WithAZeroByteIsNoAddress) {
  using namespace std::string_view_literals;
  for (std::string_view text : {"127.0.0.1\0x:80"sv, "[::1\0]:80"sv, "a\0:80"sv, "a:8\0"sv}) {
    EXPECT_TRUE(IsInvalidArgument(ParseHostPort(text).status())) << text;
  }
}

TEST(HostPort, ParsesAndPrints) {
  EXPECT_EQ(ParseHostPort("10.0.0.1:15000")->ToString(), "10.0.0.1:15000");
  EXPECT_EQ(ParseHostPort("[::1]:15000")->ToString(), "[::1]:15000");
  EXPECT_FALSE(ParseHostPort("10.0.0.1").ok());
  EXPECT_FALSE(ParseHostPort("h:0").ok());
  EXPECT_TRUE(ParseHostPort("h:0", true).ok());
}

}  // namespace
}  // namespace memfabric
