// What users do wrong, and what they get: a code, a message that names the value and the limit, and
// a library that still works.

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/fd.h"
#include "base/retry.h"
#include "cluster/rank_process.h"

namespace memfabric::cluster {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string S(std::uint64_t n) { return std::to_string(n); }

TEST(BadInput, InitializeNamesWhatIsWrong) {
  RankProcess rank;
  std::string url = FreeUrl();
  for (const auto& [arguments, words] : std::vector<std::pair<std::string, std::string>>{
           {"http://127.0.0.1:1 2 0", "tcp://"},
           {"tcp://127.0.0.1 2 0", "port"},
           {"tcp://127.0.0.1:0 2 0", "port '0'"},
           {"tcp://127.0.0.1:65536 2 0", "65536"},
           {"tcp://::1:5000 2 0", "brackets"},
           {"tcp://300.0.0.1:5000 2 0", "300.0.0.1"},
           {"etcd:// 2 0", "etcd://"},
           {url + " 0 0", "world_size is 0"},
           {url + " 1025 0", "1025"},
           {url + " 2 2", "rank_id is 2"},
           {url + " 2 0 init_timeout=0", "init_timeout is 0"},
           {url + " 2 0 create_timeout=0", "create_timeout"},
           {url + " 2 0 operation_timeout=0", "operation_timeout"},
           {url + " 2 0 unified=0", "unified_address_space"},
           {url + " 2 0 nic=tcp://1.2.3/24:5", "nic"},
       }) {
    Answer answer = rank.Do("init " + arguments);
    EXPECT_EQ(-2000, answer.code) << arguments;
    EXPECT_THAT(answer.text, HasSubstr(words)) << arguments;
  }
  EXPECT_CODE(0, rank.Do("uninit"));
  EXPECT_CODE(0, rank.Do("init " + url + " 1 0"));
  EXPECT_CODE(0, rank.Do("init " + url + " 1 0"));      // equal arguments again
  EXPECT_CODE(-2005, rank.Do("init " + url + " 2 0"));  // others
}

TEST(BadInput, CreateNamesWhatIsWrong) {
  auto ranks = StartRanks(FreeUrl(), 1, 2);
  RankProcess& rank = *ranks[0];
  for (const auto& [command, words] : std::vector<std::pair<std::string, std::string>>{
           {"create 64 0x200000 0", "id is 64"},
           {"create 0 0x200001 0", "2097153"},
           {"create 0 0x20000200000 0", "2 TiB"},
           {"create 0 0x200000 0x1000200000", "64 GiB"},
           {"create 0 0x200000 0 op=3", "data_op_type is 3"},
           {"create2 0 0x400000 0x200000 0 0", "max_dram_size"},
           {"create2 0 0 0 0 0", "both 0"},
           {"create2 0 0 0x8000000000000000 0 0", "2 TiB"},
           {"create2 0 0x200000 0x200000 0 0 flags=0x100", "shm_fd"},
       }) {
    Answer answer = rank.Do(command);
    EXPECT_EQ(-2000, answer.code) << command << ": " << answer.text;
    EXPECT_THAT(answer.text, HasSubstr(words)) << command;
  }
  ASSERT_CODE(0, rank.Do("create 0 0x200000 0"));  // none of them kept the id
  EXPECT_CODE(-2006, rank.Do("create 0 0x200000 0"));
  EXPECT_CODE(0, rank.Do("create 63 0x200000 0"));
}

TEST(BadInput, AWindowThatDoesNotFitSaysWhatWould) {
  auto ranks = StartRanks(FreeUrl(), 1, 1024);
  Answer answer = ranks[0]->Do("create2 0 0x200000 0x20000000000 0 0");  // 1024 x 2 TiB
  EXPECT_EQ(-2000, answer.code) << answer.text;
  EXPECT_THAT(answer.text, AllOf(HasSubstr("2048 TiB"), HasSubstr("free")));
}

TEST(BadInput, MismatchesNameTheRankAndBothValues) {
  std::string url = FreeUrl();
  auto ranks = StartRanks(url, 2, 3);
  ASSERT_CODE(0, ranks[0]->Do("create2 0 0x200000 0x400000 0 0"));
  Answer sizes = ranks[1]->Do("create2 0 0x200000 0x600000 0 0");
  EXPECT_EQ(-2000, sizes.code);
  EXPECT_THAT(sizes.text, AllOf(HasSubstr("rank 0"), HasSubstr("4194304"), HasSubstr("6291456")));
  Answer more = ranks[1]->Do("create 0 0x600000 0");
  EXPECT_EQ(-2000, more.code);
  EXPECT_THAT(more.text, AllOf(HasSubstr("4 MiB"), HasSubstr("6 MiB"), HasSubstr("create2")));
  EXPECT_CODE(0, ranks[1]->Do("create 0 0x200000 0"));  // less is fine

  RankProcess other;
  ASSERT_CODE(0, other.Do("init " + url + " 4 2"));
  Answer world = other.Do("create2 0 0 0x400000 0 0");
  EXPECT_EQ(-2000, world.code);
  EXPECT_THAT(world.text, AllOf(HasSubstr("world_size 4"), HasSubstr("3"), HasSubstr("rank")));
  EXPECT_CODE(0, other.Do("uninit"));
  ASSERT_CODE(0, other.Do("init " + url + " 4 2 dynamic=1"));
  EXPECT_CODE(0, other.Do("create2 0 0 0x400000 0 0"));
}

TEST(BadInput, CopiesAreCheckedToTheByte) {
  auto ranks = StartRanks(FreeUrl(), 3, 4);
  All(ranks, "create2 0 0x200000 0x400000 0x200000 0x200000");
  EXPECT_CODE(-2003, ranks[0]->Do("fill 0 0 host 0 8 1"));
  All(ranks, "join 0");
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0x1ffff8 8 1"));
  // one byte into what isn't allocated
  EXPECT_CODE(-2000, ranks[0]->Do("fill 0 1 host 0x1ffff9 8 1"));
  EXPECT_CODE(-2000, ranks[0]->Do("fill 0 1 host 0x200000 8 1"));
  EXPECT_CODE(-2000, ranks[0]->Do("fill 0 1 host 0 0 1"));
  EXPECT_CODE(-2014, ranks[0]->Do("fill 0 3 host 0 8 1"));  // never joined
  // across two slots that are full
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 device 0x1ff000 0x2000 9"));
  EXPECT_CODE(0, ranks[2]->Do("load 0 1 device 0x1ff000 0x2000 9"));
  // into the slot of a rank that isn't there
  EXPECT_CODE(-2014, ranks[0]->Do("fill 0 2 device 0x1ff000 0x2000 9"));
  EXPECT_CODE(-2000, ranks[0]->Do("g2g 0 1 host 2 0x1ff000 0x2000"));
  EXPECT_EQ("0", ranks[0]->Do("ptr 0 4 host").text);
  EXPECT_CODE(0, ranks[0]->Do("destroy 0"));
  EXPECT_CODE(-2000, ranks[0]->Do("join 0"));  // the driver has no handle any more
}

TEST(BadInput, APoolDestroyedUnderRunningCopiesCrashesNobody) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  for (int round = 0; round < 10; ++round) {
    All(ranks, "create 0 0x1000000 0");
    All(ranks, "join 0");
    EXPECT_CODE(0, ranks[0]->Do("destroy_while_copying 0 1 " + S(round % 2 == 0 ? 64 : 0x800000)));
    EXPECT_CODE(0, ranks[1]->Do("destroy 0"));
  }
}

TEST(BadInput, AStoreThatIsNotThereEndsAtTheTimeout) {
  RankProcess rank;
  auto began = std::chrono::steady_clock::now();
  Answer answer = rank.Do("init " + FreeUrl() + " 2 1 init_timeout=2");
  auto took = std::chrono::steady_clock::now() - began;
  EXPECT_TRUE(answer.code == -2004 || answer.code == -2014) << answer.code << answer.text;
  EXPECT_THAT(answer.text, HasSubstr("127.0.0.1"));
  EXPECT_GE(took, std::chrono::milliseconds(1900));
  EXPECT_LT(took, std::chrono::seconds(4));
}

// A server that takes connections and answers each with `reply`, or with nothing at all.
class OddServer {
 public:
  explicit OddServer(std::string reply)
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(0, ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size));
    EXPECT_EQ(0, ::listen(listener_.get(), 64));
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this, reply] {
      std::vector<UniqueFd> open;
      for (;;) {
        UniqueFd connection(
            RetryOnSignal([&] { return ::accept(listener_.get(), nullptr, nullptr); }));
        if (!connection) return;
        (void)!RetryOnSignal([&] { return ::write(connection.get(), reply.data(), reply.size()); });
        open.push_back(std::move(connection));
      }
    });
  }
  ~OddServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  const std::string& url() const { return url_; }

 private:
  UniqueFd listener_;
  std::string url_;
  std::thread thread_;
};

TEST(BadInput, APortThatIsServedBySomethingElseIsCalledThat) {
  for (const char* reply :
       {"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", ""}) {
    OddServer odd(reply);
    RankProcess first, second;
    Answer serve = first.Do("init " + odd.url() + " 2 0 init_timeout=3");
    EXPECT_EQ(-2009, serve.code) << serve.text;
    EXPECT_THAT(serve.text, HasSubstr(odd.url().substr(6)));
    Answer use = second.Do("init " + odd.url() + " 2 1 init_timeout=3");
    EXPECT_NE(0, use.code);
    EXPECT_THAT(use.text, AllOf(HasSubstr(odd.url().substr(6)), HasSubstr("store")));
    EXPECT_CODE(-2009, first.Do("serve " + odd.url()));
  }
}

TEST(BadInput, LimitsThatBiteAreNamed) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  ASSERT_CODE(0, ranks[0]->Do("limit as 0x100000000"));
  Answer space = ranks[0]->Do("create 0 0x200000000 0");
  EXPECT_LT(space.code, 0);
  EXPECT_THAT(space.text, HasSubstr("RLIMIT_AS"));
  ASSERT_CODE(0, ranks[1]->Do("limit fsize 0x100000"));
  Answer file = ranks[1]->Do("create 0 0x200000 0");
  EXPECT_LT(file.code, 0);
  EXPECT_THAT(file.text, HasSubstr("RLIMIT_FSIZE"));
  EXPECT_CODE(0, ranks[1]->Do("limit fsize 0x1000000"));
  EXPECT_CODE(0, ranks[1]->Do("create 0 0x200000 0"));
}

TEST(BadInput, AForkedChildSeesAnUninitializedLibraryAndTheParentGoesOn) {
  auto ranks = StartRanks(FreeUrl(), 2, 2);
  All(ranks, "create 0 0x200000 0");
  All(ranks, "join 0");
  EXPECT_CODE(0, ranks[1]->Do("fork 0"));
  EXPECT_CODE(0, ranks[0]->Do("fork 0"));  // serves the store
  EXPECT_CODE(0, ranks[0]->Do("fill 0 1 host 0 4096 1"));
  EXPECT_CODE(0, ranks[1]->Do("load 0 1 host 0 4096 1"));
}

TEST(BadInput, AProcessThatOnlyServesTheStoreHasNoPools) {
  std::string url = FreeUrl();
  RankProcess server;
  ASSERT_CODE(0, server.Do("init " + url + " 1 0 store_only=1"));
  EXPECT_CODE(-2003, server.Do("create 0 0x200000 0"));
  RankProcess rank;
  EXPECT_CODE(0, rank.Do("init " + url + " 1 0 start_store=0"));
}

}  // namespace
}  // namespace memfabric::cluster
