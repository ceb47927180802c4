// Addresses that mean something on one host only: a name that its own host's /etc/hosts leads to
// loopback ("127.0.1.1 name", as Debian has it), container bridges, link-local ones; and ports and
// protocols that this host doesn't give.

#include <arpa/inet.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/retry.h"
#include "cluster/host_ranks.h"

namespace memfabric::cluster {
namespace {

using netns::Hosts;
using netns::Wiring;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr seconds kAtOnce{10};  // of time-outs of 30 s

// An /etc/hosts for processes of a test.
class HostsFile {
 public:
  explicit HostsFile(const std::string& line)
      : path_(::testing::TempDir() + "memfabric-hosts-" + std::to_string(::getpid())) {
    path_ += "-" + std::to_string(++count_);
    std::ofstream(path_) << "127.0.0.1 localhost\n" << line << "\n";
  }
  ~HostsFile() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  static inline int count_ = 0;
  std::string path_;
};

class OwnName : public ::testing::Test {
 protected:
  OwnName() : job_(2, Wiring::kKernel) {}
  void SetUp() override { SKIP_WITHOUT_HOSTS(job_); }
  // `own`: on host 0, as Debian has it; else as the name service tells it to others.
  std::unique_ptr<RankProcess> Start(int host, bool own,
                                     const std::map<std::string, std::string>& environment = {}) {
    return std::make_unique<RankProcess>(environment, job_.hosts().Namespace(host),
                                         own ? at_home_.path() : elsewhere_.path());
  }
  bool Listens(int host, const std::string& address) {
    return job_.hosts().Run(host, {"sh", "-c", "ss -Hltn src " + address + " | grep -q ."}).ok();
  }
  static void Join(RankProcess& rank, const std::string& url, int number) {
    ASSERT_CODE(0, rank.Do("init " + url + " 4 " + std::to_string(number), kAtOnce));
    ASSERT_CODE(0, rank.Do("create 0 0x200000 0"));
    ASSERT_CODE(0, rank.Do("join 0", kAtOnce));
  }
  static void ExpectBothWays(RankProcess& zero, RankProcess& one) {
    EXPECT_EQ("tcp", zero.Do("path 0 1").text);
    EXPECT_CODE(0, zero.Do("fill 0 1 host 0 4096 1"));
    EXPECT_CODE(0, one.Do("fill 0 0 host 0 4096 2"));
    EXPECT_CODE(0, one.Do("load 0 1 host 0 4096 1"));
    EXPECT_CODE(0, zero.Do("load 0 0 host 0 4096 2"));
  }

  HostRanks job_;
  const HostsFile at_home_{"127.0.1.1 node-a.example node-a"};
  const HostsFile elsewhere_{Hosts::Address(0) + " node-a.example node-a"};
};

TEST_F(OwnName, LeadsOthersToTheStoreAndToTheDataPort) {
  for (const std::string name : {"node-a", "node-a.example"}) {
    const std::string url = "tcp://" + name + ":8570";
    auto zero = Start(0, true), one = Start(1, false);
    Join(*zero, url, 0);
    Join(*one, url, 1);
    ExpectBothWays(*zero, *one);
    EXPECT_TRUE(Listens(0, "127.0.1.1:8570"));
    EXPECT_TRUE(Listens(0, Hosts::Address(0) + ":8570"));
    EXPECT_FALSE(Listens(0, "0.0.0.0:8570"));
    EXPECT_EQ(0, one->Finish());
    EXPECT_EQ(0, zero->Finish());
  }
}

TEST_F(OwnName, OfAStoreThatListensEverywhereMakesNobodyAdvertiseLoopback) {
  auto server = Start(0, true);
  ASSERT_CODE(0, server->Do("serve tcp://0.0.0.0:8570"));
  auto zero = Start(0, true), one = Start(1, false);
  Join(*zero, "tcp://node-a:8570", 0);
  Join(*one, "tcp://node-a:8570", 1);
  ExpectBothWays(*zero, *one);
}

TEST_F(OwnName, ThatSaysLoopbackStaysThere) {
  for (const std::string host : {"127.0.0.1", "localhost", "127.0.1.1"}) {
    auto zero = Start(0, true);
    Join(*zero, "tcp://" + host + ":8570", 0);
    EXPECT_FALSE(Listens(0, Hosts::Address(0))) << host;
    EXPECT_EQ(0, zero->Finish());
  }
}

TEST_F(OwnName, WhereARecordLooksWrongTheJoinSaysSo) {
  auto server = Start(0, true);
  ASSERT_CODE(0, server->Do("serve tcp://0.0.0.0:8570"));
  auto zero = Start(0, true);
  Join(*zero, "tcp://127.0.0.1:8570", 0);  // by its own word
  auto one = Start(1, false);
  ASSERT_CODE(0, one->Do("init tcp://node-a:8570 4 1 operation_timeout=2"));
  ASSERT_CODE(0, one->Do("create 0 0x200000 0"));
  Answer answer = one->Do("join 0");
  EXPECT_EQ(-2004, answer.code);
  EXPECT_THAT(answer.text,
              AllOf(HasSubstr("127.0.0.1:"), HasSubstr("loopback address"), HasSubstr("nic")));

  // An address that both hosts have, as container bridges do.
  ASSERT_CODE(0, zero->Do("leave 0"));
  ASSERT_CODE(0, zero->Do("uninit"));
  for (int host : {0, 1}) {
    ASSERT_TRUE(job_.hosts().Run(host, {"ip", "link", "add", "docker0", "type", "bridge"}).ok());
    ASSERT_TRUE(
        job_.hosts().Run(host, {"ip", "addr", "add", "172.17.0.1/16", "dev", "docker0"}).ok());
    ASSERT_TRUE(job_.hosts().Run(host, {"ip", "link", "set", "docker0", "up"}).ok());
  }
  auto bridged = Start(0, true);
  ASSERT_CODE(0, bridged->Do("init tcp://node-a:8570 4 2 nic=docker0"));
  ASSERT_CODE(0, bridged->Do("create 0 0x200000 0"));
  ASSERT_CODE(0, bridged->Do("join 0"));
  answer = one->Do("join 0");
  EXPECT_EQ(-2004, answer.code);
  EXPECT_THAT(answer.text,
              AllOf(HasSubstr("172.17.0.1:"), HasSubstr("also an address of this host (docker0)")));

  // A network that only the other host is in, and one of the other family.
  bridged.reset();
  ASSERT_TRUE(job_.hosts().Run(0, {"ip", "addr", "add", "10.99.0.1/24", "dev", "eth0"}).ok());
  ASSERT_TRUE(job_.hosts().Run(1, {"sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"}).ok());
  for (auto [nic, word] : {std::pair{"tcp://10.99.0.1", "knows no way to 10.99.0.1"},
                           std::pair{"tcp://[fd77::1]", "IPv6"}}) {
    auto odd = Start(0, true);
    ASSERT_CODE(0, odd->Do(std::string("init tcp://node-a:8570 4 2 nic=") + nic));
    ASSERT_CODE(0, odd->Do("create 0 0x200000 0"));
    ASSERT_CODE(0, odd->Do("join 0"));
    answer = one->Do("join 0");
    EXPECT_NE(0, answer.code);
    EXPECT_THAT(answer.text, HasSubstr(word));
  }
}

TEST_F(OwnName, OfALinkLocalAddressKeepsItsInterface) {
  for (int host : {0, 1}) {
    const std::string address = "fe80::77:" + std::to_string(host + 1) + "/64";
    ASSERT_TRUE(
        job_.hosts().Run(host, {"ip", "addr", "add", address, "dev", "eth0", "nodad"}).ok());
  }
  const std::string url = "tcp://[fe80::77:1%eth0]:8570";
  auto zero = Start(0, true), one = Start(1, false);
  Join(*zero, url, 0);
  Join(*one, url, 1);
  ExpectBothWays(*zero, *one);
  EXPECT_CODE(0, one->Do("leave 0"));
  // By nic, in a job whose store has another address.
  auto two = Start(0, true), three = Start(1, false);
  for (auto [rank, nic] : {std::pair{two.get(), "tcp://[fe80::77:1%eth0]:7100"},
                           std::pair{three.get(), "tcp://[fe80::77:2]:7100"}}) {
    const std::string number = rank == two.get() ? "0" : "1";
    ASSERT_CODE(
        0, rank->Do("init tcp://[" + Hosts::Address6(0) + "]:8571 4 " + number + " nic=" + nic));
    ASSERT_CODE(0, rank->Do("create 0 0x200000 0"));
    ASSERT_CODE(0, rank->Do("join 0", kAtOnce));
  }
  ExpectBothWays(*two, *three);
  EXPECT_TRUE(Listens(0, "[fe80::77:1]:7100"));
}

// Connections from host 1 to `to`, as many as it has ports for. They belong to that host wherever
// they are held.
std::vector<UniqueFd> TakeAllPorts(const Hosts& hosts, const std::string& to, int port) {
  std::vector<UniqueFd> taken;
  std::thread([&] {
    if (::setns(hosts.Namespace(1), CLONE_NEWNET) != 0) return;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    ::inet_pton(AF_INET, to.c_str(), &address.sin_addr);
    for (;;) {
      UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      const linger reset{1, 0};  // its port is free as soon as it is closed
      ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      if (RetryOnSignal([&] {
            return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
          }) != 0)
        return;
      taken.push_back(std::move(socket));
    }
  }).join();
  return taken;
}

TEST_F(OwnName, NoPortLeftToConnectFromIsAnErrorInSeconds) {
  ASSERT_TRUE(
      job_.hosts().Run(1, {"sysctl", "-qw", "net.ipv4.ip_local_port_range=50000 50007"}).ok());
  auto zero = Start(0, true);
  ASSERT_CODE(0, zero->Do("init " + job_.url() + " 4 0 nic=tcp://" + Hosts::Address(0) + ":7200"));
  ASSERT_CODE(0, zero->Do("create 0 0x200000 0"));
  ASSERT_CODE(0, zero->Do("join 0"));
  {
    auto taken = TakeAllPorts(job_.hosts(), Hosts::Address(0), 8570);
    ASSERT_GE(taken.size(), 4U);
    Answer answer = Start(1, false)->Do("init " + job_.url() + " 4 1", kAtOnce);
    EXPECT_EQ(-2009, answer.code);
    EXPECT_THAT(answer.text, AllOf(HasSubstr("no local port is free"),
                                   HasSubstr("ip_local_port_range (50000 50007)")));
  }
  auto one = Start(1, false);
  ASSERT_CODE(0, one->Do("init " + job_.url() + " 4 1"));
  ASSERT_CODE(0, one->Do("create 0 0x200000 0"));
  auto taken = TakeAllPorts(job_.hosts(), Hosts::Address(0), 7200);
  ASSERT_GE(taken.size(), 4U);
  Answer answer = one->Do("join 0", kAtOnce);
  EXPECT_EQ(-2016, answer.code);
  EXPECT_THAT(answer.text, AllOf(HasSubstr("no local port is free"),
                                 HasSubstr("ip_local_port_range (50000 50007)")));
  taken.clear();
  EXPECT_CODE(0, one->Do("join 0"));
}

TEST_F(OwnName, AnOpenSslPolicyWithoutTls13IsNamed) {
  const std::string policy =
      ::testing::TempDir() + "memfabric-openssl-" + std::to_string(::getpid());
  std::ofstream(policy)
      << "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\n"
         "MaxProtocol = TLSv1.2\n";
  auto zero = Start(0, true);
  Join(*zero, job_.url(), 0);
  auto one = Start(1, false, {{"OPENSSL_CONF", policy}});
  ASSERT_CODE(0, one->Do("init " + job_.url() + " 4 1"));
  ASSERT_CODE(0, one->Do("create 0 0x200000 0"));
  Answer answer = one->Do("join 0", kAtOnce);
  if (answer.code == 0) {  // an OpenSSL that reads no file
    ExpectBothWays(*zero, *one);
  } else {
    EXPECT_EQ(-2015, answer.code);
    EXPECT_THAT(answer.text, AllOf(HasSubstr("MaxProtocol = TLSv1.2"), HasSubstr(policy)));
  }
  // What is mapped needs no TLS.
  auto two = Start(1, false, {{"OPENSSL_CONF", policy}});
  ASSERT_CODE(0, zero->Do("leave 0"));
  ASSERT_CODE(0, one->Do("join 0", kAtOnce));
  Join(*two, job_.url(), 2);
  EXPECT_EQ("mapped", one->Do("path 0 2").text);
  ::unlink(policy.c_str());
}

}  // namespace
}  // namespace memfabric::cluster
