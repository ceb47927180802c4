// Pools whose ranks are behind links: every pair is reached, and a link that breaks while both ends
// live is made again.

#include <condition_variable>
#include <numeric>
#include <thread>

#include "bm/local_rank.h"

namespace memfabric::bm {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

std::vector<std::byte> Bytes(std::size_t size, int seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(seed + 7 * i + i / 251);
  return bytes;
}

// Tries until it is what is wanted; for at most half a minute.
bool Becomes(const std::function<bool()>& wanted) {
  for (auto end = steady_clock::now() + seconds(30); steady_clock::now() < end;
       std::this_thread::yield()) {
    if (wanted()) return true;
  }
  return false;
}

class Pairs : public ::testing::TestWithParam<std::string> {};

TEST_P(Pairs, ReachEachOtherAndAreCounted) {
  LocalJob job(3, GetParam());
  for (Rank from = 0; from < 3; ++from) {
    for (Rank to = 0; to < 3; ++to) {
      auto sent = Bytes(100'000, static_cast<int>(10 * from + to));
      std::vector<std::byte> got(sent.size());
      ASSERT_TRUE(job[from].Put(to, 4096 * from, sent).ok());
      ASSERT_TRUE(job[(from + 1) % 3].Get(to, 4096 * from, got).ok());
      EXPECT_EQ(sent, got);
    }
  }
  copy::PathCounts counts = job[0].Stats(1, GetParam());
  EXPECT_EQ(200'000u, counts.bytes);  // put by 0, and got for the check
  EXPECT_EQ(0u, counts.errors);
}

INSTANTIATE_TEST_SUITE_P(Transports, Pairs, ::testing::Values("mapped", "fake"),
                         [](const auto& info) { return info.param; });

TEST(BrokenLink, IsMadeAgainWhileBothEndsLive) {
  LocalJob job(3, "fake");
  std::mutex mutex;
  std::vector<std::string> events;
  ASSERT_TRUE(job[0]
                  .Use([&](Pool& pool) {
                    pool.SetEventHandler([&](Rank rank, GroupEvent event) {
                      std::lock_guard lock(mutex);
                      events.push_back((event == GroupEvent::kJoin ? "+" : "-") +
                                       std::to_string(rank));
                    });
                    return Ok();
                  })
                  .ok());
  auto sent = Bytes(1_MiB, 1);
  job[1].faults().die_after_bytes = 300'000;  // in mid-payload
  Status broken = job[0].Put(1, 0, sent);
  EXPECT_TRUE(IsDisconnected(broken)) << broken;
  job[1].faults().die_after_bytes = ~0ULL;
  EXPECT_TRUE(job[0].Put(2, 0, sent).ok());  // the others feel nothing

  EXPECT_TRUE(Becomes([&] { return job[0].Put(1, 0, sent).ok(); }));
  std::vector<std::byte> got(sent.size());
  EXPECT_TRUE(Becomes([&] { return job[1].Put(0, 0, sent).ok(); }));
  EXPECT_TRUE(job[0].Get(1, 0, got).ok());
  EXPECT_EQ(sent, got);
  EXPECT_TRUE(Becomes([&] {
    std::lock_guard lock(mutex);
    return events == std::vector<std::string>{"-1", "+1"};
  }));
  copy::PathCounts counts = job[0].Stats(1, "fake");
  EXPECT_GE(counts.errors, 1u);
  EXPECT_GE(counts.retries + job[1].Stats(0, "fake").retries, 1u);
}

TEST(BrokenLink, IsNotMadeAgainWithAPeerThatLeft) {
  LocalJob job(2, "fake");
  auto sent = Bytes(100, 1);
  ASSERT_TRUE(job[1].Leave().ok());
  EXPECT_TRUE(Becomes([&] { return IsDisconnected(job[0].Put(1, 0, sent)); }));
  EXPECT_EQ(0u, job[0].Stats(1, "fake").retries);
  ASSERT_TRUE(job[1].Join().ok());
  EXPECT_TRUE(job[0].Put(1, 0, sent).ok());
}

TEST(BrokenLink, OfAPeerThatLeavesThenIsCalledSo) {
  LocalJob job(2, "fake");
  job[1].faults().refuse_links = true;
  job[1].faults().die_after_bytes = 0;
  EXPECT_TRUE(IsDisconnected(job[0].Put(1, 0, Bytes(100, 1))));
  ASSERT_TRUE(job[1].Leave().ok());
  EXPECT_TRUE(Becomes([&] {
    Status status = job[0].Put(1, 0, Bytes(100, 1));
    return IsDisconnected(status) &&
           status.message().find("it has left pool 0") != std::string::npos;
  }));
}

TEST(BrokenLink, ControlCallsDoNotWaitForTriesToMakeItAgain) {
  LocalJob job(3, "fake");
  job[1].faults().refuse_links = true;
  job[1].faults().die_after_bytes = 0;
  EXPECT_TRUE(IsDisconnected(job[0].Put(1, 0, Bytes(100, 1))));
  EXPECT_TRUE(Becomes([&] { return job[0].Stats(1, "fake").retries >= 2; }));
  EXPECT_TRUE(job[0].Leave().ok());
  EXPECT_TRUE(job[1].Leave().ok());  // tries as well
  job[0].Destroy();
}

}  // namespace
}  // namespace memfabric::bm
