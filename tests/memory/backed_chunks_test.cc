#include "memory/backed_chunks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <vector>

namespace memfabric {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr std::uint64_t kChunk = BackedChunks::kChunkBytes;

class BackedChunksTest : public ::testing::Test {
 protected:
  // A question that somebody waits for the answer of.
  std::future<Status> Ask(std::uint64_t offset, std::uint64_t size_bytes) {
    std::size_t before = asked_.size();
    auto answer =
        std::async(std::launch::async, [=, this] { return chunks_.Obtain(offset, size_bytes); });
    std::unique_lock lock(mutex_);
    came_.wait(lock, [&] { return asked_.size() > before; });
    return answer;
  }

  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> asked_;
  BackedChunks chunks_{8 * kChunk, [this](std::uint64_t first, std::uint64_t count) {
                         std::lock_guard lock(mutex_);
                         asked_.emplace_back(first, count);
                         came_.notify_all();
                       }};
};

TEST_F(BackedChunksTest, AsksOnceForEachChunk) {
  auto answer = Ask(kChunk + 5, 2 * kChunk);
  EXPECT_FALSE(chunks_.Covers(kChunk + 5, 1));
  EXPECT_TRUE(chunks_.OnBacked(1, 1).ok());
  EXPECT_TRUE(chunks_.OnBacked(2, 2).ok());
  EXPECT_TRUE(answer.get().ok());
  EXPECT_TRUE(chunks_.Covers(kChunk, 3 * kChunk));
  EXPECT_FALSE(chunks_.Covers(kChunk, 3 * kChunk + 1));
  EXPECT_TRUE(chunks_.Obtain(kChunk, 3 * kChunk).ok());
  EXPECT_THAT(asked_, ElementsAre(Pair(1, 3)));
  auto more = Ask(0, 5 * kChunk);
  EXPECT_TRUE(chunks_.OnBacked(0, 8).ok());
  EXPECT_TRUE(more.get().ok());
  EXPECT_THAT(asked_, ElementsAre(Pair(1, 3), Pair(0, 5)));
}

TEST_F(BackedChunksTest, ARefusalIsAnErrorAndIsAskedAgain) {
  auto answer = Ask(0, 2 * kChunk);
  EXPECT_TRUE(chunks_.OnBacked(0, 1).ok());
  EXPECT_TRUE(chunks_.OnRefused(1, 1, "its limit is 1").ok());
  Status status = answer.get();
  EXPECT_TRUE(IsOutOfMemory(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("its limit is 1"));
  auto again = Ask(0, 2 * kChunk);
  EXPECT_TRUE(chunks_.OnBacked(1, 1).ok());
  EXPECT_TRUE(again.get().ok());
}

TEST_F(BackedChunksTest, APeerThatDoesNotAnswerIsWaitedForOnce) {
  auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(chunks_.Obtain(0, 1).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 200ms);
  EXPECT_FALSE(chunks_.Covers(0, 1));
  begin = std::chrono::steady_clock::now();
  for (std::uint64_t chunk = 1; chunk < 8; ++chunk)
    EXPECT_TRUE(chunks_.Obtain(chunk * kChunk, 1).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 200ms);
  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_TRUE(chunks_.OnBacked(0, 1).ok());  // it goes on
  auto answer = Ask(7 * kChunk, 1);
  EXPECT_TRUE(chunks_.OnBacked(7, 1).ok());
  EXPECT_TRUE(answer.get().ok());
}

TEST_F(BackedChunksTest, TheEndOfThePeerEndsWaits) {
  auto answer = Ask(0, 1);
  chunks_.End();
  EXPECT_TRUE(answer.get().ok());
  EXPECT_TRUE(chunks_.Obtain(kChunk, 1).ok());
  EXPECT_EQ(asked_.size(), 1u);
}

TEST_F(BackedChunksTest, AnswersAboutWhatIsNotThereAreRefused) {
  for (auto [first, count] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {0, 0}, {8, 1}, {0, 9}, {UINT64_MAX, 2}, {1, UINT64_MAX}}) {
    EXPECT_TRUE(IsInvalidArgument(chunks_.OnBacked(first, count))) << first;
    EXPECT_TRUE(IsInvalidArgument(chunks_.OnRefused(first, count, ""))) << first;
  }
}

}  // namespace
}  // namespace memfabric
