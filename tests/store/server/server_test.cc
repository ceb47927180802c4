// The embedded server as a process's neighbours see it: its port, its streams, many sessions, and
// Debian's etcdctl.

#include "store/embedded/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/retry.h"
#include "store/embedded/core.h"
#include "store/embedded/key_range.h"
#include "store/server/connection.h"
#include "support/fake_clock.h"
#include "support/poll_for.h"

namespace memfabric::store {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::chrono::seconds kBound{30};

std::unique_ptr<EmbeddedServer> StartServer(const HostPort& listen = {"127.0.0.1", 0},
                                            Clock* clock = &SteadyClock()) {
  auto server = EmbeddedServer::Start({.listen = listen, .clock = clock});
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? std::move(*server) : nullptr;
}

bool HasIpv6() {
  const UniqueFd fd(socket(AF_INET6, SOCK_STREAM, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  return fd && bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

std::int64_t Grant(Connection& to, std::int64_t seconds) {
  BoundedContext context;
  etcdserverpb::LeaseGrantRequest request;
  etcdserverpb::LeaseGrantResponse response;
  request.set_ttl(seconds);
  EXPECT_TRUE(to.lease->LeaseGrant(&context, request, &response).ok());
  return response.id();
}

std::int64_t Count(Connection& to, const std::string& key) {
  BoundedContext context;
  etcdserverpb::RangeRequest request;
  etcdserverpb::RangeResponse response;
  request.set_key(key);
  EXPECT_TRUE(to.kv->Range(&context, request, &response).ok());
  return response.count();
}

std::uint64_t ClusterId(Connection& to) {
  BoundedContext context;
  etcdserverpb::StatusResponse response;
  EXPECT_TRUE(to.maintenance->Status(&context, {}, &response).ok());
  return response.header().cluster_id();
}

TEST(ListenTest, AnswersWhenItHasStarted) {
  const auto server = StartServer();
  Connection to(server->address());
  EXPECT_TRUE(Put(to, "key", "value").ok());
  EXPECT_EQ(Count(to, "key"), 1);
}

TEST(ListenTest, TakesNoPortThatAnotherServerHas) {
  const auto server = StartServer();
  const auto second = EmbeddedServer::Start({.listen = server->address()});
  ASSERT_FALSE(second.ok());
  EXPECT_TRUE(IsInUse(second.status())) << second.status();
  EXPECT_THAT(second.status().message(), HasSubstr(server->address().ToString()));
}

TEST(ListenTest, TakesNoPortThatSomethingElseHas) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd.get(), 1), 0);
  ASSERT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const auto server = EmbeddedServer::Start({.listen = {"127.0.0.1", ntohs(address.sin_port)}});
  ASSERT_FALSE(server.ok());
  EXPECT_TRUE(IsInUse(server.status())) << server.status();
}

TEST(ListenTest, SaysThatAnAddressIsAnothersHosts) {
  for (const char* host : {"192.0.2.1", "no-such-host.invalid"}) {
    const auto server = EmbeddedServer::Start({.listen = {host, 0}});
    ASSERT_FALSE(server.ok());
    EXPECT_TRUE(IsNotFound(server.status())) << server.status();
    EXPECT_THAT(server.status().message(), HasSubstr(host));
  }
}

TEST(ListenTest, TakesNamesAndAllAddresses) {
  std::vector<std::string> hosts = {"localhost", "0.0.0.0"};
  if (HasIpv6()) hosts.push_back("::1");
  for (const std::string& host : hosts) {
    const auto server = StartServer({host, 0});
    ASSERT_NE(server, nullptr) << host;
    Connection to(host == "0.0.0.0" ? HostPort{"127.0.0.1", server->address().port}
                                    : server->address());
    EXPECT_TRUE(Put(to, "key", "value").ok()) << host;
  }
}

TEST(ListenTest, CanBeServedAgainAtOnceAndIsAnotherStoreThen) {
  auto server = StartServer();
  const HostPort address = server->address();
  Connection first(address);
  const std::uint64_t before = ClusterId(first);
  ASSERT_TRUE(Put(first, "key", "value").ok());
  server.reset();
  server = StartServer(address);
  ASSERT_NE(server, nullptr);
  Connection second(address);
  EXPECT_NE(ClusterId(second), before);
  EXPECT_EQ(Count(second, "key"), 0);
}

TEST(ListenTest, BeginsWithItsSeeds) {
  FakeClock clock;
  auto server = EmbeddedServer::Start(
      {.listen = {"127.0.0.1", 0}, .clock = &clock, .seeds = {{"seed", "value", 5s}}});
  ASSERT_TRUE(server.ok()) << server.status();
  Connection to((*server)->address());
  BoundedContext context;
  etcdserverpb::RangeRequest request;
  etcdserverpb::RangeResponse response;
  request.set_key("seed");
  ASSERT_TRUE(to.kv->Range(&context, request, &response).ok());
  ASSERT_EQ(response.kvs_size(), 1);
  EXPECT_EQ(response.kvs(0).value(), "value");
  EXPECT_NE(response.kvs(0).lease(), 0);
}

TEST(ListenTest, IsNotHurtByGarbage) {
  const auto server = StartServer();
  Connection to(server->address());
  ASSERT_TRUE(Put(to, "key", "value").ok());
  std::mt19937 random(1);
  for (int round = 0; round < 40; ++round) {
    const UniqueFd fd(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(server->address().port);
    ASSERT_EQ(RetryOnSignal([&] {
                return connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
              }),
              0);
    std::string bytes(random() % 20'000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 4 == 1) bytes = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    if (round % 4 == 2) bytes.insert(0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    (void)!RetryOnSignal([&] { return send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); });
  }
  EXPECT_TRUE(Put(to, "key", "again").ok());
}

TEST(StreamTest, EndQuicklyWithTheServer) {
  auto server = StartServer();
  Connection to(server->address());
  std::vector<std::unique_ptr<BoundedContext>> contexts;
  std::vector<std::unique_ptr<
      grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>>
      watches;
  etcdserverpb::WatchResponse response;
  for (int i = 0; i < 100; ++i) {
    watches.push_back(
        to.watch->Watch(contexts.emplace_back(std::make_unique<BoundedContext>()).get()));
    ASSERT_TRUE(
        watches.back()->Write(Message<etcdserverpb::WatchRequest>("create_request { key: 'k' }")));
    ASSERT_TRUE(watches.back()->Read(&response));
  }
  BoundedContext context;
  auto keep_alive = to.lease->LeaseKeepAlive(&context);
  const auto begin = std::chrono::steady_clock::now();
  server.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  for (auto& watch : watches) {
    EXPECT_FALSE(watch->Read(&response));
    EXPECT_FALSE(watch->Finish().ok());
  }
  EXPECT_FALSE(keep_alive->Finish().ok());
}

TEST(StreamTest, OfASlowReaderHoldsUpNobody) {
  const auto server = StartServer();
  Connection slow(server->address());
  Connection quick(server->address());
  BoundedContext slow_context, quick_context;
  auto slow_watch = slow.watch->Watch(&slow_context);
  auto quick_watch = quick.watch->Watch(&quick_context);
  etcdserverpb::WatchResponse response;
  for (auto* watch : {slow_watch.get(), quick_watch.get()}) {
    ASSERT_TRUE(watch->Write(Message<etcdserverpb::WatchRequest>("create_request { key: 'k' }")));
    ASSERT_TRUE(watch->Read(&response));
  }
  // Far more than the connection's buffers and the history take.
  const std::string value(1 << 20, 'v');
  for (int i = 0; i < 120; ++i) {
    ASSERT_TRUE(Put(quick, "k", value).ok());
    ASSERT_TRUE(quick_watch->Read(&response));
    ASSERT_EQ(response.events_size(), 1);
    ASSERT_EQ(response.events(0).kv().version(), i + 1);
  }
  // The slow one gets what was on its way, and then learns that it has missed the rest.
  std::int64_t last = 0;
  while (slow_watch->Read(&response) && !response.canceled())
    for (const auto& event : response.events()) {
      EXPECT_EQ(event.kv().version(), last + 1);
      last = event.kv().version();
    }
  EXPECT_TRUE(response.canceled());
  EXPECT_GT(response.compact_revision(), 0);
  EXPECT_LT(last, 100);
}

TEST(LeaseExpiryTest, FollowsTheClockAndTellsTheWatches) {
  FakeClock clock;
  const auto server = StartServer({"127.0.0.1", 0}, &clock);
  Connection to(server->address());
  const std::int64_t lease = Grant(to, 3);
  ASSERT_TRUE(Put(to, "held", "value", lease).ok());
  BoundedContext context;
  auto watch = to.watch->Watch(&context);
  ASSERT_TRUE(watch->Write(Message<etcdserverpb::WatchRequest>("create_request { key: 'held' }")));
  etcdserverpb::WatchResponse response;
  ASSERT_TRUE(watch->Read(&response));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Count(to, "held"), 1);
    ASSERT_TRUE(clock.AwaitWaiter(clock.Now() + 1s));
    clock.Advance(1s);
  }
  // A server that was too busy to see a second pass takes it for a stop and gives it back.
  for (int i = 0; i < 30 && Count(to, "held") == 1; ++i) {
    if (clock.AwaitWaiter(clock.Now() + 1s)) clock.Advance(1s);
  }
  ASSERT_TRUE(watch->Read(&response));
  ASSERT_EQ(response.events_size(), 1);
  EXPECT_EQ(response.events(0).type(), mvccpb::Event::DELETE);
}

// Takes what its watch is told, on whichever thread that comes.
class CountingReader final : public WatchSession::Reader {
 public:
  explicit CountingReader(Core& core) : core_(core) {
    Core::Tell(core_.Run([&](State& state, TimePoint) {
      session_.emplace(state.watches(), *this);
      session_->Handle(
          Message<etcdserverpb::WatchRequest>("create_request { key: 'k' range_end: 'l' }"));
    }));
  }
  ~CountingReader() override {
    Core::Tell(core_.Run([&](State&, TimePoint) { session_.reset(); }));
  }
  void OnReady() override {
    bool more = true;
    while (more)
      Core::Tell(core_.Run([&](State&, TimePoint) {
        more = session_->Next(&response_);
        events_ += more ? response_.events_size() : 0;
      }));
  }
  int events() {
    int events = 0;
    Core::Tell(core_.Run([&](State&, TimePoint) { events = events_; }));
    return events;
  }

 private:
  Core& core_;
  std::optional<WatchSession> session_;
  etcdserverpb::WatchResponse response_;
  int events_ = 0;
};

TEST(CoreTest, TellsEveryWatchWhatManyThreadsWrite) {
  constexpr int kThreads = 4;
  constexpr int kPuts = 500;
  Core core(1, SteadyClock());
  ASSERT_TRUE(core.Start().ok());
  CountingReader first(core), second(core);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&core] {
      for (int i = 0; i < kPuts; ++i)
        Core::Tell(core.Run([](State& state, TimePoint now) {
          etcdserverpb::LeaseGrantResponse granted;
          etcdserverpb::PutResponse done;
          EXPECT_EQ(
              state.LeaseGrant(Message<etcdserverpb::LeaseGrantRequest>("TTL: 60"), now, &granted),
              nullptr);
          EXPECT_EQ(state.Put(Message<etcdserverpb::PutRequest>("key: 'k'"), &done), nullptr);
        }));
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(first.events(), kThreads * kPuts);
  EXPECT_EQ(second.events(), kThreads * kPuts);
}

// One rank's part in the store: a connection with a lease, a watch and keep-alives.
struct Rank {
  Rank(const HostPort& address, const std::string& name) : to(address), name(name) {
    lease = Grant(to, 60);
    watch = to.watch->Watch(&watch_context);
    etcdserverpb::WatchRequest own, common;
    own.mutable_create_request()->set_key(name);
    own.mutable_create_request()->set_range_end(PrefixEnd(name));
    common.mutable_create_request()->set_key("common");
    watch->Write(own);
    watch->Write(common);
    etcdserverpb::WatchResponse response;
    created = watch->Read(&response) && response.created() && watch->Read(&response) &&
              response.created();
    keep_alive = to.lease->LeaseKeepAlive(&keep_alive_context);
  }
  bool KeepAlive() {
    etcdserverpb::LeaseKeepAliveRequest request;
    etcdserverpb::LeaseKeepAliveResponse response;
    request.set_id(lease);
    return keep_alive->Write(request) && keep_alive->Read(&response) && response.ttl() == 60;
  }
  bool SeesOneEvent() {
    etcdserverpb::WatchResponse response;
    return watch->Read(&response) && response.events_size() == 1;
  }

  Connection to;
  const std::string name;
  std::int64_t lease = 0;
  bool created = false;
  grpc::ClientContext watch_context, keep_alive_context;
  std::unique_ptr<grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>
      watch;
  std::unique_ptr<grpc::ClientReaderWriter<etcdserverpb::LeaseKeepAliveRequest,
                                           etcdserverpb::LeaseKeepAliveResponse>>
      keep_alive;
};

std::size_t ThreadCount() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// What `count` ranks cost, client and server together, from the first connection until each has
// seen one event of its own and one that all see.
double CostOfRanks(int count, std::size_t* threads) {
  const auto server = StartServer();
  const double before = CpuSeconds();
  std::vector<std::unique_ptr<Rank>> ranks;
  for (int i = 0; i < count; ++i) {
    ranks.push_back(
        std::make_unique<Rank>(server->address(), "rank/" + std::to_string(100'000 + i)));
    EXPECT_TRUE(ranks.back()->created);
  }
  for (auto& rank : ranks) {
    const grpc::Status put = Put(rank->to, rank->name + "/record", "value", rank->lease);
    EXPECT_TRUE(put.ok()) << rank->name << ": " << put.error_message();
    EXPECT_TRUE(rank->SeesOneEvent());
    EXPECT_TRUE(rank->KeepAlive());
  }
  EXPECT_TRUE(Put(ranks.front()->to, "common", "value").ok());
  for (auto& rank : ranks) EXPECT_TRUE(rank->SeesOneEvent());
  *threads = ThreadCount();
  const double cost = CpuSeconds() - before;
  for (auto& rank : ranks) {
    rank->watch_context.TryCancel();
    rank->keep_alive_context.TryCancel();
  }
  return cost;
}

TEST(ManySessionsTest, CostInProportionAndNoThreads) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 8192);
  setrlimit(RLIMIT_NOFILE, &files);
  std::size_t few_threads = 0, many_threads = 0;
  CostOfRanks(16, &few_threads);  // what is paid once
  const double few = CostOfRanks(256, &few_threads);
  const double many = CostOfRanks(1024, &many_threads);
  std::printf("256 sessions: %.2f s of CPU, %zu threads; 1024: %.2f s, %zu threads\n", few,
              few_threads, many, many_threads);
  EXPECT_LT(many, few * 4 * 1.75);
  EXPECT_LT(many_threads, few_threads + 64);
}

// A program with its output, ended with the object.
class Program {
 public:
  explicit Program(std::vector<std::string> words) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    output_ = UniqueFd(ends[0]);
    const UniqueFd input(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, input.get(), STDERR_FILENO);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::string path = "PATH=" + std::string(getenv("PATH"));
    std::string api = "ETCDCTL_API=3";
    char* environment[] = {path.data(), api.data(), nullptr};
    if (posix_spawnp(&pid_, arguments[0], &actions, nullptr, arguments.data(), environment) != 0)
      pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Program() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    (void)RetryOnSignal([&] { return waitpid(pid_, nullptr, 0); });
  }
  // Reads until `text` has been printed, or nothing more comes within the bound.
  bool Prints(const std::string& text) {
    while (printed_.find(text) == std::string::npos)
      if (!ReadMore()) return false;
    return true;
  }
  // All that it prints until it ends.
  const std::string& ReadAll() {
    while (ReadMore()) continue;
    return printed_;
  }
  // After ReadAll().
  int ExitCode() {
    int status = -1;
    if (pid_ < 0 || RetryOnSignal([&] { return waitpid(pid_, &status, 0); }) != pid_) return -1;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  const std::string& printed() const { return printed_; }

 private:
  bool ReadMore() {
    pollfd ready{output_.get(), POLLIN, 0};
    char bytes[4096];
    if (PollFor({&ready, 1}, kBound) != 1) return false;
    const ssize_t size = RetryOnSignal([&] { return read(output_.get(), bytes, sizeof bytes); });
    if (size > 0) printed_.append(bytes, static_cast<std::size_t>(size));
    return size > 0;
  }

  pid_t pid_ = -1;
  UniqueFd output_;
  std::string printed_;
};

class EtcdctlTest : public testing::Test {
 protected:
  std::vector<std::string> Words(std::vector<std::string> words) {
    words.insert(words.begin(), {"etcdctl", "--endpoints=" + server_->address().ToString()});
    return words;
  }
  std::string Run(std::vector<std::string> words, int expected_code = 0) {
    Program program(Words(std::move(words)));
    std::string printed = program.ReadAll();
    EXPECT_EQ(program.ExitCode(), expected_code) << printed;
    return printed;
  }

  std::unique_ptr<EmbeddedServer> server_ = StartServer();
};

TEST_F(EtcdctlTest, PutsGetsAndDeletes) {
  EXPECT_EQ(Run({"put", "a/1", "one"}), "OK\n");
  EXPECT_EQ(Run({"put", "a/2", "two"}), "OK\n");
  EXPECT_EQ(Run({"get", "a/1"}), "a/1\none\n");
  EXPECT_EQ(Run({"get", "--prefix", "a/", "--print-value-only"}), "one\ntwo\n");
  EXPECT_EQ(Run({"get", "--prefix", "a/", "--keys-only", "--order=DESCEND", "--limit=1"}),
            "a/2\n\n");
  EXPECT_EQ(Run({"get", "", "--from-key", "--print-value-only"}), "one\ntwo\n");
  EXPECT_EQ(Run({"put", "a/1", "new", "--prev-kv"}), "OK\na/1\none\n");
  EXPECT_EQ(Run({"get", "a/1", "--rev=2"}), "a/1\none\n");
  EXPECT_EQ(Run({"del", "--prefix", "a/"}), "2\n");
  EXPECT_EQ(Run({"get", "--prefix", "a/"}), "");
  EXPECT_EQ(Run({"compact", "4"}), "compacted revision 4\n");
  EXPECT_THAT(Run({"get", "a/1", "--rev=2"}, 1), HasSubstr("required revision has been compacted"));
}

TEST_F(EtcdctlTest, Watches) {
  Run({"put", "w/1", "before"});
  Program watch(Words({"watch", "--prefix", "w/", "--rev=2"}));
  ASSERT_TRUE(watch.Prints("PUT\nw/1\nbefore\n")) << watch.printed();
  Run({"put", "w/2", "after"});
  Run({"del", "w/1"});
  ASSERT_TRUE(watch.Prints("PUT\nw/2\nafter\nDELETE\nw/1\n\n")) << watch.printed();
}

TEST_F(EtcdctlTest, HasLeases) {
  EXPECT_THAT(Run({"lease", "grant", "60"}),
              testing::MatchesRegex("lease [0-9a-f]+ granted with TTL\\(60s\\)\n"));
  const std::string granted = Run({"lease", "grant", "100"});
  const std::string id = granted.substr(6, granted.find(' ', 6) - 6);
  EXPECT_EQ(Run({"put", "held", "value", "--lease=" + id}), "OK\n");
  EXPECT_THAT(Run({"lease", "timetolive", id, "--keys"}), HasSubstr("granted with TTL(100s)"));
  EXPECT_THAT(Run({"lease", "list"}), HasSubstr(id));
  EXPECT_THAT(Run({"lease", "keep-alive", "--once", id}), HasSubstr("keepalived with TTL(100)"));
  EXPECT_THAT(Run({"lease", "revoke", id}), HasSubstr("revoked"));
  EXPECT_EQ(Run({"get", "held"}), "");
  EXPECT_THAT(Run({"lease", "revoke", id}, 1), HasSubstr("requested lease not found"));
}

TEST_F(EtcdctlTest, CommitsTransactions) {
  Run({"put", "t", "1"});
  Program program({"sh", "-c",
                   "printf 'value(\"t\") = \"1\"\\n\\nput t 2\\nget t\\n\\nput t 3\\n\\n' | "
                   "etcdctl --endpoints=" +
                       server_->address().ToString() + " txn"});
  EXPECT_THAT(program.ReadAll(), HasSubstr("SUCCESS\n\nOK\n\nt\n2\n"));
  EXPECT_EQ(Run({"get", "t", "--print-value-only"}), "2\n");
}

TEST_F(EtcdctlTest, SeesTheMember) {
  EXPECT_THAT(Run({"endpoint", "status", "--write-out=json"}), HasSubstr("3.4.0+memfabric"));
  EXPECT_THAT(Run({"endpoint", "health"}), HasSubstr("is healthy"));
  EXPECT_THAT(Run({"member", "list"}), HasSubstr("memfabric"));
}

}  // namespace
}  // namespace memfabric::store
