// A job whose place the store gives up: it takes its rank again, and what fails meanwhile is tried
// again later and later.

#include "runtime/job.h"

#include <algorithm>
#include <vector>

#include "store/client/test_store.h"

namespace memfabric {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using store::test::Shared;
using store::test::Soon;

struct Heard {
  int given_up = 0;
  int replaced = 0;
  std::vector<TimePoint> returns;
};

// Says of the first `failures` returns that not all is back.
class Ear final : public JobObserver {
 public:
  explicit Ear(std::size_t failures) : failures_(failures) {}
  void OnGivenUp(const Status&) override {
    heard.Change([](Heard& all) { ++all.given_up; });
  }
  Status OnReturned() override {
    std::size_t times = 0;
    heard.Change([&](Heard& all) {
      all.returns.push_back(steady_clock::now());
      times = all.returns.size();
    });
    return times <= failures_ ? DeadlineExceeded("the others are busy") : Ok();
  }
  void OnReplaced(const Status&) override {
    heard.Change([](Heard& all) { ++all.replaced; });
  }
  Shared<Heard> heard;

 private:
  const std::size_t failures_;
};

class JobTest : public testing::Test {
 protected:
  std::unique_ptr<Job> Open(Ear& ear) {
    JobOptions options;
    options.url = store::test::UrlOf(store_.address());
    options.service = "bm";
    options.world_size = 2;
    options.rank = 1;
    options.start_store = false;
    auto job = Job::Open(options, *reactor_, ear, Soon());
    EXPECT_OK(job);
    return job.ok() ? std::move(*job) : nullptr;
  }
  // As a store does whose client was cut off for too long.
  void TakeLease(Job& job) { EXPECT_OK(job.client().RevokeLease(job.session().lease(), Soon())); }

  std::unique_ptr<transport::Reactor> reactor_ = std::move(*transport::Reactor::Create());
  store::test::TestStore store_{store::test::StoreKind::kEmbedded};
};

TEST_F(JobTest, AReturnThatFailsIsTriedAgainAfterLongerAndLongerPauses) {
  Ear ear(3);
  auto job = Open(ear);
  ASSERT_NE(job, nullptr);
  TakeLease(*job);
  ASSERT_TRUE(ear.heard.Await([](const Heard& all) { return all.returns.size() == 4; }));
  const auto heard = ear.heard.Copy();
  EXPECT_EQ(heard.given_up, 1);
  EXPECT_EQ(heard.replaced, 0);
  for (int i = 0; i < 3; ++i)
    EXPECT_GE(heard.returns[i + 1] - heard.returns[i], 250ms * (1 << i)) << i;
  auto rank = job->client().Get(job->keys().Rank(1), Soon());
  ASSERT_OK(rank);
  EXPECT_TRUE(rank->has_value());
}

TEST_F(JobTest, WhoIsGivenUpAgainSoonWaitsBeforeItClaims) {
  Ear ear(0);
  auto job = Open(ear);
  ASSERT_NE(job, nullptr);
  TakeLease(*job);
  ASSERT_TRUE(ear.heard.Await([](const Heard& all) { return all.returns.size() == 1; }));
  TakeLease(*job);
  ASSERT_TRUE(ear.heard.Await([](const Heard& all) { return all.given_up == 2; }));
  const TimePoint again = steady_clock::now();
  ASSERT_TRUE(ear.heard.Await([](const Heard& all) { return all.returns.size() == 2; }));
  EXPECT_GE(ear.heard.Copy().returns[1] - again, 200ms);
}

TEST_F(JobTest, ClosesWhileItWaitsToTryAgain) {
  Ear ear(100);
  auto job = Open(ear);
  ASSERT_NE(job, nullptr);
  TakeLease(*job);
  // the next pause takes 2 s and more
  ASSERT_TRUE(ear.heard.Await([](const Heard& all) { return all.returns.size() == 4; }));
  const TimePoint began = steady_clock::now();
  job.reset();
  EXPECT_LT(steady_clock::now() - began, 1900ms);
}

}  // namespace
}  // namespace memfabric
