#include "transport/tcp/vigil.h"

#include <gtest/gtest.h>

namespace memfabric::transport::tcp {
namespace {

using std::chrono::milliseconds;
using Verdict = Vigil::Verdict;

constexpr milliseconds kLook{50};

class VigilTest : public ::testing::Test {
 protected:
  // Looks until the verdict isn't patience; how long that took by the clock. At most a minute.
  milliseconds UntilSomething(Verdict* verdict, milliseconds step = kLook) {
    const TimePoint begin = now_;
    do {
      now_ += step;
      *verdict = vigil_.Look(now_, signs_);
    } while (*verdict == Verdict::kPatience && now_ - begin < std::chrono::minutes(1));
    return std::chrono::duration_cast<milliseconds>(now_ - begin);
  }

  TimePoint now_{std::chrono::hours(1)};
  Vigil::Signs signs_{now_, 10'000, 0};
  Vigil vigil_{now_, signs_};
};

TEST_F(VigilTest, AsksThreeTimesThenGivesUpWithinTwoSeconds) {
  Verdict verdict;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Vigil::kPingPeriod, UntilSomething(&verdict));
    EXPECT_EQ(Verdict::kAsk, verdict);
    signs_.asked += 40;
  }
  EXPECT_EQ(milliseconds(400), UntilSomething(&verdict));
  EXPECT_EQ(Verdict::kSilent, verdict);
  EXPECT_EQ(Vigil::kSilenceLimit, vigil_.silence());
}

TEST_F(VigilTest, AnAnswerBeginsItAnew) {
  Verdict verdict;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Vigil::kPingPeriod, UntilSomething(&verdict));
    ASSERT_EQ(Verdict::kAsk, verdict);
    signs_.asked += 40;
    now_ += milliseconds(10);
    signs_.heard = now_;
    EXPECT_EQ(Verdict::kPatience, vigil_.Look(now_, signs_));
  }
}

TEST_F(VigilTest, AHostThatTakesOurQuestionsIsNoPeerThatAnswers) {
  // Its kernel acknowledges each question 20 ms later; its process is stopped.
  Verdict verdict = Verdict::kPatience;
  milliseconds took{0};
  for (milliseconds since_asked{0}; verdict != Verdict::kSilent && took < milliseconds(10'000);
       took += milliseconds(10)) {
    now_ += milliseconds(10);
    since_asked += milliseconds(10);
    if (since_asked == milliseconds(20)) signs_.taken = 10'000 + signs_.asked;
    verdict = vigil_.Look(now_, signs_);
    if (verdict == Verdict::kAsk) {
      signs_.asked += 40;
      since_asked = milliseconds(0);
    }
  }
  EXPECT_EQ(Vigil::kSilenceLimit, took);
}

TEST_F(VigilTest, ASlowNetworkThatTakesPayloadIsLife) {
  for (int i = 0; i < 1000; ++i) {
    now_ += kLook;
    if (i % 8 == 0) signs_.taken += 1448;
    if (i % 10 == 0) signs_.asked += 40;
    EXPECT_NE(Verdict::kSilent, vigil_.Look(now_, signs_)) << i;
  }
}

TEST_F(VigilTest, TimeInWhichNobodyLookedIsNoSilence) {
  now_ += std::chrono::hours(3);  // the machine was suspended
  EXPECT_EQ(Verdict::kPatience, vigil_.Look(now_, signs_));
  Verdict verdict;
  EXPECT_EQ(milliseconds(300), UntilSomething(&verdict));  // 200 ms of the three hours count
  EXPECT_EQ(Verdict::kAsk, verdict);
}

TEST_F(VigilTest, AKernelThatCountsNothingIsNoLife) {
  signs_ = {TimePoint{}, 0, 0};
  vigil_ = Vigil(now_, signs_);
  Verdict verdict = Verdict::kPatience;
  milliseconds took{0};
  while (verdict != Verdict::kSilent && took < std::chrono::minutes(1)) {
    took += UntilSomething(&verdict);
    signs_.asked += 40;
  }
  EXPECT_EQ(Vigil::kSilenceLimit, took);
}

}  // namespace
}  // namespace memfabric::transport::tcp
