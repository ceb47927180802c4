// At which address a port listens. What depends on interfaces runs in a network namespace of the
// test's own, as root.

#include "transport/tcp/listen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "base/log.h"
#include "base/retry.h"

namespace memfabric::transport::tcp {
namespace {

using testing::AllOf;
using testing::HasSubstr;

NetworkOptions Nic(std::string nic, std::string near_host = "") {
  NetworkOptions options;
  options.nic = std::move(nic);
  options.near_host = std::move(near_host);
  return options;
}

std::string Chosen(const NetworkOptions& options) {
  auto address = ChooseAddress(options);
  return address.ok() ? address->address.ToString() : address.status().ToString();
}

TEST(TcpListen, AStoreOnLoopbackIsReachedOverLoopback) {
  EXPECT_EQ(Chosen(Nic("", "127.0.0.1")), "127.0.0.1:0");
  EXPECT_EQ(Chosen(Nic("tcp://127.0.0.1:4711")), "127.0.0.1:4711");
  EXPECT_EQ(Chosen(Nic("tcp://127.9.9.9/8:1")), "127.0.0.1:1");
  EXPECT_EQ(Chosen(Nic("lo")), "127.0.0.1:0");
  EXPECT_EQ(Chosen(Nic("tcp://127.0.0.1")), "127.0.0.1:0");
  EXPECT_EQ(Chosen(Nic("nosuch0,lo")), "127.0.0.1:0");
  EXPECT_EQ(Chosen(Nic("tcp://203.0.113.9:1,tcp://127.0.0.0/8:2")), "127.0.0.1:2");
}

TEST(TcpListen, WhatIsNotThereIsSaid) {
  EXPECT_THAT(Chosen(Nic("nosuch0")), AllOf(HasSubstr("nosuch0"), HasSubstr("no such interface"),
                                            HasSubstr("lo 127.0.0.1")));
  EXPECT_THAT(Chosen(Nic("tcp://203.0.113.9:1")),
              AllOf(HasSubstr("203.0.113.9"), HasSubstr("the address"), HasSubstr("127.0.0.1")));
  EXPECT_THAT(Chosen(Nic("tcp://203.0.113.9/24:1")), HasSubstr("an address in"));
  EXPECT_THAT(Chosen(Nic("tcp://10.0.0.1/33:1")), AllOf(HasSubstr("33"), HasSubstr("32")));
  EXPECT_THAT(Chosen(Nic("tcp://10.0.0.1/x:1")), HasSubstr("mask bits"));
  EXPECT_THAT(Chosen(Nic("tcp://host.name:1")), HasSubstr("numeric"));
  EXPECT_THAT(Chosen(Nic("nosuch0,tcp://203.0.113.9")),
              AllOf(HasSubstr("nosuch0"), HasSubstr("203.0.113.9")));
}

TEST(TcpListen, ATakenPortNamesItsOwner) {
  auto first = Listen({"127.0.0.1", 0});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_NE(first->address.port, 0);
  auto second = Listen(first->address);
  ASSERT_TRUE(IsInUse(second.status())) << second.status();
  EXPECT_THAT(second.status().message(),
              AllOf(HasSubstr(first->address.ToString()), HasSubstr("taken"),
                    HasSubstr(fmt::format("pid {}", ::getpid()))));
}

// Runs `check` in a child that has a network namespace to itself; returns what it says.
std::string InOwnNamespace(const std::string& commands, const std::function<std::string()>& check) {
  int answer[2];
  EXPECT_EQ(::pipe(answer), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text = "no namespace";
    if (::unshare(CLONE_NEWNET) == 0)
      text = std::system(commands.c_str()) == 0 ? check() : "ip failed";
    [[maybe_unused]] ssize_t written =
        RetryOnSignal([&] { return ::write(answer[1], text.data(), text.size()); });
    ::_exit(0);
  }
  ::close(answer[1]);
  std::string text(4096, '\0');
  const ssize_t got = RetryOnSignal([&] { return ::read(answer[0], text.data(), text.size()); });
  ::close(answer[0]);
  RetryOnSignal([&] { return ::waitpid(child, nullptr, 0); });
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

// Where `range` of a port that is taken leads to, relative to it.
std::string InRange(const HostPort& first, const PortRange& range) {
  auto listener = ListenInRange(first, range);
  return listener.ok() ? std::to_string(listener->address.port - first.port)
                       : listener.status().message();
}

// A port with free ones behind it, in namespaces where nobody else takes any.
const HostPort kFirst{"127.0.0.1", 7000};

TEST(TcpListen, APortIsTheFirstOfARange) {
  const std::string text = InOwnNamespace("ip link set lo up", [] {
    std::vector<ListeningSocket> held;
    auto hold = [&](std::uint16_t port) { held.push_back(*Listen({"127.0.0.1", port})); };
    std::string all = InRange(kFirst, {.own = 3, .spare = 8, .says_which = true}) + "\n";
    hold(7003);
    all += InRange(kFirst, {.own = 3, .spare = 8, .says_which = true}) + "\n";
    hold(7008);
    hold(7009);
    all += InRange(kFirst, {.own = 3, .spare = 8, .says_which = true}) + "\n";
    all += InRange(kFirst, {.own = 0, .spare = 1}) + "\n";
    hold(7000);
    all += InRange(kFirst, {.own = 0, .spare = 1}) + "\n";
    all += InRange({"127.0.0.1", 65534}, {.own = 3, .spare = 1}) + "\n";
    hold(65535);
    all += InRange({"127.0.0.1", 65534}, {.own = 3, .spare = 1}) + "\n";
    return all;
  });
  if (text == "no namespace") GTEST_SKIP() << "needs root";
  EXPECT_EQ(text,
            "3\n8\n10\n0\n1\n1\n"
            "port 65534 + 3 is beyond 65535, and so is every one that may be used instead, from "
            "65535 on\n");
}

TEST(TcpListen, ThePortOfSomebodyElseIsWarnedOfAndOnesOwnIsNot) {
  auto held = Listen({"127.0.0.1", 0});
  ASSERT_TRUE(held.ok()) << held.status();
  auto warnings = [&] {
    std::string said;
    log::SetSink([&](LogLevel, const std::string& line) { said += line; });
    log::SetLevel(LogLevel::kWarn);
    auto other = ListenInRange(held->address, {.own = 0, .spare = 1, .says_which = true});
    EXPECT_TRUE(other.ok()) << other.status();
    log::SetLevel(LogLevel::kError);
    log::SetSink({});
    return said;
  };
  EXPECT_EQ(warnings(), "");
  const pid_t child = ::fork();  // it has the port now
  while (child == 0) ::pause();
  held->socket.Reset();
  EXPECT_THAT(warnings(), AllOf(HasSubstr(held->address.ToString()), HasSubstr("taken"),
                                HasSubstr(fmt::format("pid {}", child))));
  ::kill(child, SIGKILL);
  RetryOnSignal([&] { return ::waitpid(child, nullptr, 0); });
}

// Pairs of which the near end has the name; the far ends stay in the same namespace, without
// addresses.
const std::string kTwoNetworks =
    "add() { ip link add $1 type veth peer name far-$1 && ip link set far-$1 up; }; "
    "ip link set lo up && add docker0 && ip addr add 172.17.0.1/16 dev docker0 && ip link set "
    "docker0 up && "
    "add data0 && ip addr add 10.1.0.5/24 dev data0 && ip addr add fd01::5/64 dev data0 nodad && "
    "ip link set data0 up && "
    "add off0 && ip addr add 10.9.0.5/24 dev off0 && add bare0 && sysctl -qw "
    "net.ipv6.conf.bare0.disable_ipv6=1 && "
    "ip link set bare0 up";

TEST(TcpListen, TheRouteToTheStoreDecides) {
  const std::string text = InOwnNamespace(kTwoNetworks, [] {
    std::string all;
    for (const NetworkOptions& options :
         {Nic("", "10.1.0.9"), Nic("", "fd01::9"), Nic("", "172.17.0.9"), Nic(""),
          Nic("", "0.0.0.0"), Nic("tcp://0.0.0.0:7"), Nic("tcp://[::]/0:7"), Nic("tcp://[::]/64:7"),
          Nic("tcp://10.9.9.9/0:7"), Nic("tcp://10.1.0.0/24:8"), Nic("tcp://[fd01::]/64:8"),
          Nic("data0")}) {
      all += Chosen(options) + "\n";
    }
    return all;
  });
  if (text == "no namespace") GTEST_SKIP() << "needs root";
  EXPECT_EQ(text,
            "10.1.0.5:0\n[fd01::5]:0\n172.17.0.1:0\n10.1.0.5:0\n10.1.0.5:0\n10.1.0.5:7\n10.1.0.5:"
            "7\n10.1.0.5:7\n10.1.0.5:7\n10."
            "1.0.5:8\n[fd01::5]:8\n"
            "10.1.0.5:0\n");
}

TEST(TcpListen, InterfacesThatAreDownOrHaveNoAddressAreRefused) {
  const std::string text = InOwnNamespace(
      kTwoNetworks, [] { return Chosen(Nic("off0")) + "\n" + Chosen(Nic("bare0")); });
  if (text == "no namespace") GTEST_SKIP() << "needs root";
  EXPECT_THAT(text, AllOf(HasSubstr("\"off0\": the interface is down"),
                          HasSubstr("\"bare0\": the interface has no address")));
}

TEST(TcpListen, WithNothingElseItIsLoopback) {
  const std::string text = InOwnNamespace("ip link set lo up", [] { return Chosen(Nic("")); });
  if (text == "no namespace") GTEST_SKIP() << "needs root";
  EXPECT_EQ(text, "127.0.0.1:0");
}

}  // namespace
}  // namespace memfabric::transport::tcp
