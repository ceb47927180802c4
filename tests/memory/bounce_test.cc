#include "memory/bounce.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <vector>

namespace memfabric {
namespace {

constexpr std::size_t kPage = 4096;

// `pages` that are there, then one that isn't.
class Cliff {
 public:
  explicit Cliff(std::size_t pages, int protection = PROT_NONE) : pages_(pages) {
    void* address = ::mmap(nullptr, (pages + 1) * kPage, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(address, MAP_FAILED);
    data_ = static_cast<std::byte*>(address);
    std::memset(data_, 1, pages * kPage);
    EXPECT_EQ(::mprotect(edge(), kPage, protection), 0);
  }
  ~Cliff() { ::munmap(data_, (pages_ + 1) * kPage); }
  std::byte* data() const { return data_; }
  std::byte* edge() const { return data_ + pages_ * kPage; }

 private:
  const std::size_t pages_;
  std::byte* data_;
};

class BounceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto arena = BounceArena::Create();
    ASSERT_TRUE(arena.ok()) << arena.status();
    arena_ = *arena;
    auto buffer = arena_->Take();
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    buffer_ = *std::move(buffer);
  }
  std::shared_ptr<BounceArena> arena_;
  BounceBuffer buffer_;
};

TEST_F(BounceTest, BytesGoInAndOut) {
  std::vector<std::byte> from(5000, std::byte{7});
  EXPECT_EQ(buffer_.Load(100, from.data(), from.size()), from.size());
  EXPECT_EQ(std::memcmp(buffer_.data() + 100, from.data(), from.size()), 0);
  std::vector<std::byte> one(2000);
  std::vector<std::byte> other(3000);
  const iovec parts[] = {{one.data(), one.size()}, {other.data(), other.size()}};
  EXPECT_EQ(buffer_.Store(100, parts), 5000u);
  EXPECT_EQ(one, std::vector<std::byte>(2000, std::byte{7}));
  EXPECT_EQ(other, std::vector<std::byte>(3000, std::byte{7}));
}

TEST_F(BounceTest, WhatIsNotThereEndsACopyAndNothingElse) {
  Cliff cliff(2);
  EXPECT_EQ(buffer_.Load(0, reinterpret_cast<const void*>(kPage), 8), 0u);  // NOLINT
  EXPECT_EQ(buffer_.Load(0, cliff.edge() - 100, 200), 100u);
  const iovec nowhere{reinterpret_cast<void*>(kPage), 8};  // NOLINT
  EXPECT_EQ(buffer_.Store(0, {&nowhere, 1}), 0u);
  const iovec over{cliff.edge() - 100, 200};
  EXPECT_LE(buffer_.Store(0, {&over, 1}), 100u);
  Cliff constant(1, PROT_READ);
  const iovec read_only{constant.edge(), 8};
  EXPECT_EQ(buffer_.Store(0, {&read_only, 1}), 0u);
  EXPECT_EQ(buffer_.Load(0, constant.edge(), 8), 8u);
}

TEST_F(BounceTest, BuffersAreApartAndGivenAgain) {
  auto second = *arena_->Take();
  std::memset(buffer_.data(), 1, BounceBuffer::kBytes);
  std::memset(second.data(), 2, BounceBuffer::kBytes);
  EXPECT_EQ(buffer_.data()[BounceBuffer::kBytes - 1], std::byte{1});
  second = {};
  auto third = *arena_->Take();
  EXPECT_EQ(third.data()[0], std::byte{0});
  EXPECT_EQ(buffer_.data()[0], std::byte{1});
}

TEST_F(BounceTest, ALimitOfFileSizesIsAnErrorAndNoSignal) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = BounceBuffer::kBytes;  // what the fixture's has taken
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  auto refused = arena_->Take();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("RLIMIT_FSIZE"), std::string::npos) << refused.status();
  EXPECT_TRUE(arena_->Take().ok());
}

TEST_F(BounceTest, TheFirstPartThatCannotBeReadIsFound) {
  Cliff cliff(3);
  std::byte good[10];
  const iovec parts[] = {{good, 10},
                         {cliff.data() + 5, 3 * kPage - 5},
                         {cliff.data() + 5, 3 * kPage - 4},
                         {nullptr, 1}};
  EXPECT_EQ(FirstUnreadable(buffer_, 0, parts), 2u);
  EXPECT_EQ(FirstUnreadable(buffer_, 0, std::span(parts).first(2)), 2u);
}

TEST(OwnMemory, IsCheckedAtItsEndsAndForHoles) {
  constexpr std::size_t kPages = 10'000;
  Cliff cliff(kPages);
  EXPECT_TRUE(CheckOwnMemory(cliff.data() + 1, kPages * kPage - 1, true).ok());
  EXPECT_TRUE(IsInvalidArgument(CheckOwnMemory(cliff.data(), kPages * kPage + 1, false)));
  EXPECT_TRUE(IsInvalidArgument(CheckOwnMemory(cliff.data(), kPages * kPage + 1, true)));
  EXPECT_TRUE(IsInvalidArgument(
      CheckOwnMemory(reinterpret_cast<const void*>(kPage), 1 << 20, false)));  // NOLINT
  Cliff constant(4, PROT_READ);
  EXPECT_TRUE(CheckOwnMemory(constant.data(), 5 * kPage, false).ok());
  EXPECT_TRUE(IsInvalidArgument(CheckOwnMemory(constant.data(), 5 * kPage, true)));
  EXPECT_EQ(constant.data()[0], std::byte{1});
  ASSERT_EQ(::munmap(cliff.data() + 5000 * kPage, kPage), 0);
  EXPECT_TRUE(IsInvalidArgument(CheckOwnMemory(cliff.data(), kPages * kPage, false)));
}

TEST(OwnMemory, OfAFileThatHasShrunkIsNotThere) {
  const int file = ::memfd_create("shrinks", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, 4 * kPage), 0);
  void* mapped = ::mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_TRUE(CheckOwnMemory(mapped, 4 * kPage, true).ok());
  ASSERT_EQ(::ftruncate(file, kPage), 0);
  EXPECT_TRUE(IsInvalidArgument(CheckOwnMemory(mapped, 4 * kPage, false)));
  EXPECT_TRUE(IsInvalidArgument(CheckOwnMemory(mapped, 4 * kPage, true)));
  ::munmap(mapped, 4 * kPage);
  ::close(file);
}

}  // namespace
}  // namespace memfabric
