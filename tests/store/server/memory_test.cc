// What a store takes of its host's memory when clients put and ask for much.

#include <sys/resource.h>

#include <fstream>
#include <thread>

#include "store/client/test_store.h"
#include "store/server/store_process.h"

namespace memfabric::store::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;

// "VmRSS", "VmHWM" of a process, in MiB.
int Memory(pid_t pid, const std::string& which) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(which)) return std::atoi(line.c_str() + which.size() + 1) / 1024;
  return -1;
}

TEST(StoreMemoryTest, IsBoundedAndGivenBack) {
  StoreProcess store({});
  const HostPort address = store.Serve();
  auto client = ConnectTo(address);
  ASSERT_NE(client, nullptr);
  const std::string value(1 << 20, 'v');
  int stored = 0;
  Status refused;
  while (stored < 500 && refused.ok()) {
    refused = client->Put(fmt::format("big/{:03}", stored), value, kNoLease, Soon()).status();
    if (refused.ok()) ++stored;
  }
  EXPECT_EQ(stored, 63) << "the quota is 64 MiB, with what goes with each key";
  EXPECT_THAT(refused, IsKind(Kind::kInUse));
  EXPECT_THAT(refused.message(),
              AllOf(HasSubstr("database space exceeded"), HasSubstr("MEMFABRIC_STORE_QUOTA")));
  // Eight ask for everything in one answer each, time and again, while one who comes is served at
  // once.
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i)
    readers.emplace_back([&] {
      auto reader = ConnectTo(address);
      ASSERT_NE(reader, nullptr);
      auto all = reader->GetSome("big/", "big/", 1000, Soon());
      ASSERT_OK(all);
      EXPECT_EQ(all->entries.size(), 63U);
    });
  const auto began = steady_clock::now();
  auto newcomer = ConnectTo(address);
  ASSERT_NE(newcomer, nullptr);
  EXPECT_OK(newcomer->Get("a", Soon()));
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(5));
  for (auto& reader : readers) reader.join();
  EXPECT_LT(Memory(store.pid(), "VmHWM"), 600);
  for (int i = 0; i < stored; ++i) ASSERT_OK(client->Delete(fmt::format("big/{:03}", i), Soon()));
  for (Deadline deadline = Soon();
       Memory(store.pid(), "VmRSS") > 140 && steady_clock::now() < deadline;)
    EXPECT_OK(client->Put("a", "1", kNoLease, Soon()));
  EXPECT_LE(Memory(store.pid(), "VmRSS"), 140);
  EXPECT_OK(client->Put("big/again", value, kNoLease, Soon()));
}

TEST(StoreMemoryTest, TheQuotaCanBeSet) {
  StoreProcess store({.environment = {{"MEMFABRIC_STORE_QUOTA", "3M"}}});
  auto client = ConnectTo(store.Serve());
  ASSERT_NE(client, nullptr);
  const std::string value(1 << 20, 'v');
  EXPECT_OK(client->Put("a", value, kNoLease, Soon()));
  EXPECT_OK(client->Put("b", value, kNoLease, Soon()));
  EXPECT_THAT(client->Put("c", value, kNoLease, Soon()), IsKind(Kind::kInUse));
  for (const char* wrong : {"3X", "-1", "1", "999999T", "M", "3MB"}) {
    StoreProcess other({.environment = {{"MEMFABRIC_STORE_QUOTA", wrong}}});
    EXPECT_THAT(other.Do("serve 0"), AllOf(HasSubstr("MEMFABRIC_STORE_QUOTA"), HasSubstr(wrong)));
  }
}

}  // namespace
}  // namespace memfabric::store::test
