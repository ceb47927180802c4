// The hosts that other tests stand on: they reach each other, and what is done to the wire shows.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>

#include <set>
#include <thread>

#include "support/netns/hosts.h"
#include "support/poll_for.h"

namespace memfabric::netns {
namespace {

constexpr int kPort = 4711;
constexpr std::chrono::milliseconds kSoon{5000}, kNever{300};

// A UDP socket of that host, bound to its address.
UniqueFd Socket(const Hosts& hosts, int host) {
  UniqueFd made;
  std::thread([&] {
    if (::setns(hosts.Namespace(host), CLONE_NEWNET) != 0) return;
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_port = htons(kPort);
    ::inet_pton(AF_INET, Hosts::Address(host).c_str(), &own.sin_addr);
    UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&own), sizeof(own)) == 0) made = std::move(fd);
  }).join();
  return made;
}

bool Send(const UniqueFd& from, int to, int number) {
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(kPort);
  ::inet_pton(AF_INET, Hosts::Address(to).c_str(), &peer.sin_addr);
  return ::sendto(from.get(), &number, sizeof(number), 0, reinterpret_cast<sockaddr*>(&peer),
                  sizeof(peer)) == sizeof(number);
}

// The next number that arrives; -1 for none.
int Receive(const UniqueFd& at, std::chrono::milliseconds within) {
  pollfd readable{at.get(), POLLIN, 0};
  int number = -1;
  if (PollFor({&readable, 1}, within) == 1) (void)!::recv(at.get(), &number, sizeof(number), 0);
  return number;
}

class HostsWith : public ::testing::TestWithParam<Wiring> {};

TEST_P(HostsWith, ReachEachOther) {
  auto hosts = Hosts::Make(3, GetParam());
  if (IsUnsupported(hosts.status())) GTEST_SKIP() << hosts.status().message();
  ASSERT_TRUE(hosts.ok()) << hosts.status().message();
  for (int from = 0; from < 3; ++from) {
    for (int to = 0; to < 3; ++to) {
      if (from == to) continue;
      UniqueFd a = Socket(**hosts, from), b = Socket(**hosts, to);
      ASSERT_TRUE(a && b);
      ASSERT_TRUE(Send(a, to, 10 * from + to));
      EXPECT_EQ(10 * from + to, Receive(b, kSoon));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Wirings, HostsWith, ::testing::Values(Wiring::kKernel, Wiring::kWire));

TEST(HostsOf, AnInterfaceDownAndACablePulledAreTwoThings) {
  auto hosts = Hosts::Make(2, Wiring::kKernel);
  if (IsUnsupported(hosts.status())) GTEST_SKIP() << hosts.status().message();
  ASSERT_TRUE(hosts.ok()) << hosts.status().message();
  UniqueFd a = Socket(**hosts, 0), b = Socket(**hosts, 1);
  ASSERT_TRUE((*hosts)->SetCable(1, false).ok());
  EXPECT_TRUE(Send(a, 1, 1));
  EXPECT_EQ(-1, Receive(b, kNever));
  ASSERT_TRUE((*hosts)->SetCable(1, true).ok());
  ASSERT_TRUE((*hosts)->SetInterface(0, false).ok());
  EXPECT_FALSE(Send(a, 1, 2));  // no route
  ASSERT_TRUE((*hosts)->SetInterface(0, true).ok());
  EXPECT_TRUE(Send(a, 1, 3));
  EXPECT_EQ(3, Receive(b, kSoon));
}

TEST(HostsOf, TheWireLosesDuplicatesReordersAndCuts) {
  auto made = Hosts::Make(3, Wiring::kWire);
  if (IsUnsupported(made.status())) GTEST_SKIP() << made.status().message();
  ASSERT_TRUE(made.ok()) << made.status().message();
  Hosts& hosts = **made;
  UniqueFd a = Socket(hosts, 0), b = Socket(hosts, 1), c = Socket(hosts, 2);
  ASSERT_TRUE(Send(a, 1, 0) && Receive(b, kSoon) == 0);  // the addresses are known from here on
  ASSERT_TRUE(Send(a, 2, 0) && Receive(c, kSoon) == 0);

  auto pass = [&](const Treatment& treatment) {
    hosts.wire().Treat(treatment);
    for (int number = 0; number < 200; ++number) EXPECT_TRUE(Send(a, 1, number));
    std::vector<int> arrived;
    for (int number; (number = Receive(b, kNever)) >= 0;) arrived.push_back(number);
    return arrived;
  };
  EXPECT_THAT(pass({}).size(), 200u);
  EXPECT_THAT(pass({.lost = 0.3}).size(),
              ::testing::AllOf(::testing::Gt(80u), ::testing::Lt(190u)));
  EXPECT_THAT(pass({.duplicated = 0.3}).size(),
              ::testing::AllOf(::testing::Gt(210u), ::testing::Lt(320u)));
  auto mixed =
      pass({.delay = std::chrono::milliseconds(1), .jitter = std::chrono::milliseconds(20)});
  EXPECT_EQ(200u, mixed.size());
  EXPECT_FALSE(std::is_sorted(mixed.begin(), mixed.end()));
  EXPECT_EQ(200u, std::set<int>(mixed.begin(), mixed.end()).size());
  hosts.wire().Treat({});

  hosts.wire().Cut(1, 0);
  ASSERT_TRUE(Send(a, 1, 1) && Send(a, 2, 2));
  EXPECT_EQ(2, Receive(c, kSoon));
  EXPECT_EQ(-1, Receive(b, kNever));
  hosts.wire().Heal();
  ASSERT_TRUE(Send(a, 1, 3));
  EXPECT_EQ(3, Receive(b, kSoon));
}

}  // namespace
}  // namespace memfabric::netns
