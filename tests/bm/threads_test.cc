// Ranks that come and go while all of them copy, from many threads: what thread sanitizers look for
// in bm, runtime and copy.

#include <thread>

#include "bm/local_rank.h"

namespace memfabric::bm {
namespace {

constexpr int kRanks = 3, kRounds = 12;

// What a call may say while others come and go.
bool IsExpected(const Status& status) {
  return status.ok() || IsDisconnected(status) || IsNotFound(status) || IsNotStarted(status) ||
         IsInvalidArgument(status);
}

class Churn : public ::testing::TestWithParam<std::string> {};

TEST_P(Churn, JoinCopyLeaveDestroy) {
  LocalJob job(kRanks, GetParam());
  std::atomic<int> churning{kRanks};
  std::atomic<int> copies{0};
  std::vector<std::thread> threads;
  auto expect = [](const Status& status) { EXPECT_TRUE(IsExpected(status)) << status; };

  for (Rank own = 0; own < kRanks; ++own) {
    threads.emplace_back([&, own] {  // comes and goes
      for (int round = 0; round < kRounds; ++round) {
        expect(job[own].Leave());
        if (round % 3 == 2) {
          job[own].Destroy();
          Status created = job[own].Create();
          EXPECT_TRUE(created.ok()) << created;
        }
        Status joined = job[own].Join();
        EXPECT_TRUE(joined.ok()) << joined;
        // Others come and go as well, but this rank itself is always there for it.
        std::byte byte{1};
        EXPECT_TRUE(job[own].Put(own, 0, {&byte, 1}).ok());
      }
      --churning;
    });
    threads.emplace_back([&, own] {  // copies, small and large
      std::vector<std::byte> bytes(512_KiB);
      for (std::uint64_t n = 0; churning > 0; ++n) {
        Rank peer = static_cast<Rank>(n) % kRanks;
        std::span<std::byte> part(bytes.data(), n % 7 == 0 ? bytes.size() : 64);
        // Each thread has its own half MiB of a slot: they never write the same bytes.
        Status put = job[own].Put(peer, own * bytes.size(), part);
        expect(put);
        if (put.ok()) ++copies;
        expect(job[own].Get(peer, own * bytes.size(), part));
      }
    });
    threads.emplace_back([&, own] {  // copies in the background, and looks around
      std::vector<std::byte> bytes(4096);
      while (churning > 0) {
        for (Rank peer = 0; peer < kRanks; ++peer)
          expect(job[own].Put(peer, 1536_KiB + own * bytes.size(), bytes, true));
        expect(job[own].Use([](Pool& pool) {
          Status waited = pool.WaitQueued();
          (void)pool.Members();
          (void)pool.Path(0);
          (void)pool.Stats();
          return waited;
        }));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GT(copies, 0);
  // In the end everybody is there.
  for (Rank from = 0; from < kRanks; ++from) {
    for (Rank to = 0; to < kRanks; ++to) {
      std::byte byte{2};
      Status put = job[from].Put(to, 0, {&byte, 1});
      EXPECT_TRUE(put.ok()) << put;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, Churn, ::testing::Values("mapped", "fake"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace memfabric::bm
