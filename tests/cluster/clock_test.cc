// Ranks whose wall clock is wrong, or jumps: nothing but the certificates' dates may depend on it.

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "cluster/rank_process.h"

namespace memfabric::cluster {
namespace {

constexpr std::int64_t kHour = 3600;

// The wall clock of one rank, or several (support/wall_clock.cc).
class WallClock {
 public:
  WallClock() : file_(::memfd_create("wall clock", 0)) {
    EXPECT_EQ(0, ::ftruncate(file_.get(), sizeof(std::int64_t)));
    void* page =
        ::mmap(nullptr, sizeof(std::int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    if (page == MAP_FAILED) std::abort();
    offset_ = static_cast<std::atomic<std::int64_t>*>(page);
  }
  ~WallClock() { ::munmap(offset_, sizeof(std::int64_t)); }
  WallClock(const WallClock&) = delete;

  void JumpTo(std::int64_t seconds_off) { *offset_ = seconds_off; }
  std::map<std::string, std::string> environment() const {
    std::string name = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file_.get());
    return {{"LD_PRELOAD", WALL_CLOCK_LIBRARY}, {"MEMFABRIC_TEST_WALL_CLOCK", name}};
  }

 private:
  UniqueFd file_;
  std::atomic<std::int64_t>* offset_;
};

std::unique_ptr<RankProcess> StartRank(const std::string& url, int rank, const WallClock& clock) {
  auto process = std::make_unique<RankProcess>(clock.environment());
  EXPECT_CODE(0, process->Do("init " + url + " 4 " + std::to_string(rank)));
  EXPECT_CODE(0, process->Do("create 0 0x200000 0"));
  EXPECT_CODE(0, process->Do("join 0"));
  return process;
}

void ExpectReachEachOther(RankProcess& one, int rank, RankProcess& other, int other_rank) {
  EXPECT_CODE(0, one.Do("fill 0 " + std::to_string(other_rank) + " host 8192 4096 5"));
  EXPECT_CODE(0, other.Do("load 0 " + std::to_string(other_rank) + " host 8192 4096 5"));
  EXPECT_CODE(0, other.Do("fill 0 " + std::to_string(rank) + " host 8192 4096 6"));
  EXPECT_CODE(0, one.Do("load 0 " + std::to_string(rank) + " host 8192 4096 6"));
}

TEST(WallClocks, ThatJumpAreNoticedByNobody) {
  std::string url = FreeUrl();
  WallClock servers, members, right;
  auto server = StartRank(url, 0, servers);  // serves the store, and with it everybody's leases
  auto member = StartRank(url, 1, members);
  auto watcher = StartRank(url, 2, right);
  ASSERT_CODE(0, watcher->Do("watch 0"));
  std::string events;
  int count = 0;
  for (std::int64_t seconds : {kHour, -24 * 365 * kHour}) {
    servers.JumpTo(seconds);
    members.JumpTo(-seconds);
    // longer than a lease
    EXPECT_EQ(events, watcher->Do("events " + std::to_string(count + 1) + " 4").text) << seconds;
    ExpectReachEachOther(*server, 0, *member, 1);
    EXPECT_CODE(0, member->Do("leave 0"));
    EXPECT_CODE(0, member->Do("join 0"));
    ExpectReachEachOther(*watcher, 2, *member, 1);
    events += count == 0 ? "-1 +1" : " -1 +1";
    count += 2;
    EXPECT_EQ(events, watcher->Do("events " + std::to_string(count) + " 5").text) << seconds;
  }
}

// A rank's successor has a clock that is behind its predecessor's: turned back, or another host's.
TEST(WallClocks, ThatAreBehindKeepNobodyOut) {
  std::string url = FreeUrl();
  WallClock right, wrong;
  auto first = StartRank(url, 0, right);
  for (bool leaves : {false, true}) {
    wrong.JumpTo(kHour);
    auto ahead = StartRank(url, 1, wrong);
    ExpectReachEachOther(*first, 0, *ahead, 1);
    if (leaves) {
      EXPECT_EQ(0, ahead->Finish());
    } else {
      ahead->Kill();
    }
    wrong.JumpTo(-30 * 24 * kHour);
    auto began = std::chrono::steady_clock::now();
    auto behind = StartRank(url, 1, wrong);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(8));
    ExpectReachEachOther(*first, 0, *behind, 1);
    EXPECT_CODE(0, behind->Do("leave 0"));
    EXPECT_CODE(0, behind->Do("join 0"));
    ExpectReachEachOther(*first, 0, *behind, 1);
  }
}

}  // namespace
}  // namespace memfabric::cluster
