// The table of registrations from both sides: the owner's, and a peer's through the mapped file.

#include "memory/registered_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <random>
#include <thread>

#include "base/retry.h"
#include "base/wait.h"
#include "memory/registered_view.h"

namespace memfabric {
namespace {

using registered::Range;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

Deadline Soon() { return steady_clock::now() + std::chrono::seconds(30); }

class RegisteredTableTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = RegisteredTable::Create(&blocks_);
    ASSERT_TRUE(made.ok()) << made.status();
    table_ = *std::move(made);
    auto page = InFlightPage::Create();
    ASSERT_TRUE(page.ok()) << page.status();
    page_ = *page;
    auto view = RegisteredView::Open(table_->file(), page_);
    ASSERT_TRUE(view.ok()) << view.status();
    view_ = *std::move(view);
  }

  Status Register(std::uint64_t address, std::uint64_t size) {
    return table_->Register({&address, 1}, {&size, 1});
  }
  Status Register(const std::vector<std::uint64_t>& addresses,
                  const std::vector<std::uint64_t>& sizes) {
    return table_->Register(addresses, sizes);
  }
  Status Deregister(std::uint64_t address) { return table_->Deregister(address, Soon()); }
  // As a peer sees it.
  bool Covers(std::uint64_t address, std::uint64_t size) {
    Range hint{};
    return view_->Covers(address, size, &hint);
  }
  RegisteredTable::PeerPtr Admit() {
    auto peer = std::make_shared<RegisteredTable::Peer>();
    peer->name = "the test";
    auto mapping = InFlightPage::Open(page_->file.get());
    EXPECT_TRUE(mapping.ok()) << mapping.status();
    peer->in_flight = *std::move(mapping);
    table_->Admit(peer);
    return peer;
  }

  SharedBlocks blocks_;
  std::unique_ptr<RegisteredTable> table_;
  std::shared_ptr<InFlightPage> page_;
  std::unique_ptr<RegisteredView> view_;
};

TEST_F(RegisteredTableTest, APeerSeesWhatIsRegisteredAndNothingElse) {
  ASSERT_TRUE(Register(1000, 100).ok());
  EXPECT_TRUE(Covers(1000, 100));
  EXPECT_TRUE(Covers(1099, 1));
  EXPECT_FALSE(Covers(999, 2));
  EXPECT_FALSE(Covers(1099, 2));
  EXPECT_FALSE(Covers(1100, 1));
  EXPECT_FALSE(Covers(1000, 0));
  EXPECT_FALSE(Covers(UINT64_MAX - 1, 100)) << "a range that wraps";
  ASSERT_TRUE(Deregister(1000).ok());
  EXPECT_FALSE(Covers(1000, 1));
  EXPECT_TRUE(IsNotFound(Deregister(1000)));
}

TEST_F(RegisteredTableTest, ATransferMaySpanTouchingRegistrations) {
  ASSERT_TRUE(Register({1000, 1100, 1200, 1301}, {100, 100, 100, 9}).ok());
  EXPECT_TRUE(Covers(1050, 200));
  EXPECT_TRUE(Covers(1000, 300));
  EXPECT_FALSE(Covers(1000, 302)) << "a gap of one byte";
  ASSERT_TRUE(Deregister(1100).ok());
  EXPECT_FALSE(Covers(1050, 200));
  EXPECT_TRUE(Covers(1200, 100));
}

TEST_F(RegisteredTableTest, TheSameAgainIsFineAnOverlapIsNot) {
  ASSERT_TRUE(Register(1000, 100).ok());
  EXPECT_TRUE(Register(1000, 100).ok());
  EXPECT_EQ(table_->size(), 1u);
  for (auto [address, size] : {std::pair<std::uint64_t, std::uint64_t>{1000, 99},
                               {1000, 101},
                               {950, 51},
                               {1099, 10},
                               {1010, 5},
                               {900, 1000}}) {
    Status overlap = Register(address, size);
    EXPECT_TRUE(IsAlreadyExists(overlap)) << address << " " << size << ": " << overlap;
  }
  EXPECT_TRUE(Register(900, 100).ok()) << "touching below";
  EXPECT_TRUE(Register(1100, 1).ok()) << "touching above";
  EXPECT_TRUE(IsInvalidArgument(Register(0, 1)));
  EXPECT_TRUE(IsInvalidArgument(Register(1, 0)));
  EXPECT_TRUE(IsInvalidArgument(Register(UINT64_MAX, 2)));
}

TEST_F(RegisteredTableTest, ABatchIsAllOrNothing) {
  ASSERT_TRUE(Register(5000, 100).ok());
  EXPECT_TRUE(IsAlreadyExists(Register({100, 300, 5050, 700}, {10, 10, 10, 10})));
  EXPECT_TRUE(IsInvalidArgument(Register({100, 300, 0}, {10, 10, 10})));
  EXPECT_TRUE(IsAlreadyExists(Register({100, 105}, {10, 10}))) << "overlap within the batch";
  EXPECT_EQ(table_->size(), 1u);
  EXPECT_FALSE(Covers(100, 1));
  EXPECT_TRUE(Register({700, 100, 700, 5000}, {10, 10, 10, 100}).ok()) << "the same twice";
  EXPECT_EQ(table_->size(), 3u);
  EXPECT_TRUE(Covers(100, 10));
  EXPECT_TRUE(Covers(709, 1));
}

TEST_F(RegisteredTableTest, AgainstAModel) {
  std::mt19937 random(7);
  std::map<std::uint64_t, std::uint64_t> model;
  auto covered = [&](std::uint64_t address) {
    auto after = model.upper_bound(address);
    return after != model.begin() && address < std::prev(after)->first + std::prev(after)->second;
  };
  for (int step = 0; step < 20'000; ++step) {
    std::uint64_t address = 1 + random() % 2000;
    std::uint64_t size = 1 + random() % 20;
    switch (random() % 3) {
      case 0: {
        bool free = true;
        for (std::uint64_t byte = address; byte < address + size; ++byte)
          free = free && !covered(byte);
        bool same = model.contains(address) && model[address] == size;
        EXPECT_EQ(Register(address, size).ok(), free || same);
        if (free) model[address] = size;
        break;
      }
      case 1: EXPECT_EQ(Deregister(address).ok(), model.erase(address) == 1); break;
      default: {
        bool all = true;
        for (std::uint64_t byte = address; byte < address + size; ++byte)
          all = all && covered(byte);
        EXPECT_EQ(Covers(address, size), all);
        EXPECT_EQ(table_->Acquire(address, size).ok(), all);
        if (all) table_->Release(address, size);
      }
    }
    ASSERT_EQ(table_->size(), model.size());
  }
}

TEST_F(RegisteredTableTest, AMillionInOneBatchAndNoMore) {
  constexpr std::uint64_t kCount = registered::kMaxRanges;
  std::vector<std::uint64_t> addresses(kCount);
  std::vector<std::uint64_t> sizes(kCount, 64);
  for (std::uint64_t i = 0; i < kCount; ++i) addresses[i] = 4096 + (i * 7919 % kCount) * 128;
  ASSERT_TRUE(Register(addresses, sizes).ok());
  EXPECT_EQ(table_->size(), kCount);
  EXPECT_TRUE(Covers(4096, 64));
  EXPECT_TRUE(Covers(4096 + (kCount - 1) * 128, 64));
  EXPECT_FALSE(Covers(4096 + 64, 1));
  EXPECT_TRUE(IsInUse(Register(64, 1)));
  ASSERT_TRUE(Deregister(4096).ok());
  EXPECT_TRUE(Register(64, 1).ok());
}

TEST_F(RegisteredTableTest, DeregisteringWaitsForATransferInFlightAndNotForLaterOnes) {
  Admit();
  ASSERT_TRUE(Register({1000, 2000}, {100, 100}).ok());
  auto transfer = std::make_unique<RegisteredView::Transfer>(*view_);
  ASSERT_TRUE(Covers(1000, 100));
  std::atomic<bool> returned{false};
  auto deregistered = std::async(std::launch::async, [&] {
    Status status = Deregister(1000);
    returned = true;
    return status;
  });
  while (Covers(1000, 100)) std::this_thread::yield();
  EXPECT_FALSE(returned);
  // The owner waits from the next generation on: who counts itself in by then isn't waited for.
  while (view_->header().generation.load() == 0) std::this_thread::yield();
  RegisteredView::Transfer later(*view_);
  EXPECT_TRUE(Covers(2000, 100));
  EXPECT_FALSE(returned);
  transfer.reset();
  EXPECT_TRUE(deregistered.get().ok());
}

TEST_F(RegisteredTableTest, ATransferThatDoesntEndIsADeadlineAndAskingAgainWorks) {
  Admit();
  ASSERT_TRUE(Register(1000, 100).ok());
  auto transfer = std::make_unique<RegisteredView::Transfer>(*view_);
  Status status = table_->Deregister(1000, steady_clock::now() + milliseconds(30));
  EXPECT_TRUE(IsDeadlineExceeded(status)) << status;
  EXPECT_NE(status.message().find("the test"), std::string::npos) << status;
  EXPECT_FALSE(Covers(1000, 1));
  EXPECT_TRUE(IsDeadlineExceeded(table_->Deregister(1000, steady_clock::now() + milliseconds(30))));
  transfer.reset();
  EXPECT_TRUE(Deregister(1000).ok());
  EXPECT_TRUE(IsNotFound(Deregister(1000)));
}

TEST_F(RegisteredTableTest, AWaitForATransferCanBeCancelled) {
  Admit();
  ASSERT_TRUE(Register(1000, 100).ok());
  RegisteredView::Transfer transfer(*view_);
  std::atomic<bool> cancelled{true};
  CancelScope scope(cancelled);
  EXPECT_TRUE(IsInterrupted(Deregister(1000)));
}

TEST_F(RegisteredTableTest, ADeadPeersCountIsNoHindrance) {
  pid_t child = ::fork();
  if (child == 0) {
    new RegisteredView::Transfer(*view_);  // and never counted out
    ::_exit(0);
  }
  auto peer = std::make_shared<RegisteredTable::Peer>();
  peer->name = "the child";
  peer->in_flight = *InFlightPage::Open(page_->file.get());
  peer->process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  ASSERT_TRUE(peer->process);
  table_->Admit(peer);
  while (page_->counts().inside[0].load() == 0) std::this_thread::yield();
  ASSERT_TRUE(Register(1000, 100).ok());
  EXPECT_TRUE(Deregister(1000).ok());
  EXPECT_EQ(page_->counts().inside[0].load(), 1u);
  RetryOnSignal([&] { return ::waitpid(child, nullptr, 0); });
}

TEST_F(RegisteredTableTest, APeerThatIsForgottenInMidTransferIsStillWaitedFor) {
  auto peer = Admit();
  peer->process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  ASSERT_TRUE(Register(1000, 100).ok());
  auto transfer = std::make_unique<RegisteredView::Transfer>(*view_);
  table_->Forget(peer);
  EXPECT_TRUE(IsDeadlineExceeded(table_->Deregister(1000, steady_clock::now() + milliseconds(30))));
  transfer.reset();
  EXPECT_TRUE(Deregister(1000).ok());
}

TEST_F(RegisteredTableTest, DeregisteringWaitsForRequestsThatThisProcessServes) {
  ASSERT_TRUE(Register({1000, 2000}, {100, 100}).ok());
  ASSERT_TRUE(table_->Acquire(1050, 10).ok());
  EXPECT_TRUE(Deregister(2000).ok()) << "another range";
  EXPECT_TRUE(IsDeadlineExceeded(table_->Deregister(1000, steady_clock::now() + milliseconds(30))));
  EXPECT_TRUE(IsInvalidArgument(table_->Acquire(1050, 10)));
  table_->Release(1050, 10);
  EXPECT_TRUE(Deregister(1000).ok());
}

TEST_F(RegisteredTableTest, ABlockIsKeptWhileARegistrationLiesInIt) {
  auto data = blocks_.Allocate(100);
  ASSERT_TRUE(data.ok()) << data.status();
  auto address = reinterpret_cast<std::uintptr_t>(*data);
  ASSERT_TRUE(Register(address + 10, 20).ok());
  Range found{};
  ASSERT_TRUE(view_->Covers(address + 12, 5, &found));
  ASSERT_NE(found.block, 0u);
  EXPECT_EQ(found.block_offset, 10u);
  ASSERT_NE(table_->Block(found.block), nullptr);
  EXPECT_TRUE(blocks_.Free(address).ok());
  **data = std::byte{1};  // still there
  EXPECT_TRUE(Deregister(address + 10).ok());
  EXPECT_EQ(table_->Block(found.block), nullptr);
  EXPECT_TRUE(IsNotFound(blocks_.Free(address)));
}

TEST_F(RegisteredTableTest, PeersCannotWriteTheTable) {
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, table_->file(), 0),
            MAP_FAILED);
  EXPECT_LT(::pwrite(table_->file(), "x", 1, 0), 0);
  EXPECT_LT(::ftruncate(table_->file(), 0), 0);
}

// A peer's table is its word only: whatever stands there, a look-up ends, and doesn't reach beyond
// the mapping.
TEST_F(RegisteredTableTest, RubbishInATableOrAFileThatIsNoneIsHarmless) {
  EXPECT_TRUE(IsInvalidArgument(RegisteredView::Open(page_->file.get(), page_).status()));
  UniqueFd open_file(::memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(open_file.get(), registered::kTableBytes), 0);
  EXPECT_TRUE(IsInvalidArgument(RegisteredView::Open(open_file.get(), page_).status()))
      << "not sealed";

  void* address = ::mmap(nullptr, registered::kTableBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                         open_file.get(), 0);
  ASSERT_NE(address, MAP_FAILED);
  Mapping mapping(address, registered::kTableBytes);
  ASSERT_EQ(
      ::fcntl(open_file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE), 0);
  EXPECT_TRUE(IsInvalidArgument(RegisteredView::Open(open_file.get(), page_).status()))
      << "no magic number";
  auto* words = reinterpret_cast<std::uint64_t*>(address);
  words[0] = registered::kMagic;
  auto view = RegisteredView::Open(open_file.get(), page_);
  ASSERT_TRUE(view.ok()) << view.status();
  std::mt19937_64 random(11);
  auto& header = *reinterpret_cast<registered::Header*>(address);
  for (int round = 0; round < 2000; ++round) {
    header.count = round % 3 == 0 ? UINT64_MAX : random() % 5;
    for (std::uint64_t word = 0; word < 64; ++word)
      words[registered::kRangesOffset / 8 + word] = random() >> (random() % 64);
    Range hint{};
    (void)(*view)->Covers(1 + (random() >> (random() % 64)), random() >> (random() % 64), &hint);
  }
  header.version = 1;
  EXPECT_FALSE((*view)->BeginRead().has_value());
}

TEST_F(RegisteredTableTest, ReadersNeverSeeHalfAChange) {
  Admit();
  // Pairs that are registered together: a reader that finds one finds both.
  std::atomic<bool> stop{false};
  std::thread owner([&] {
    for (int i = 0; !stop; ++i) {
      std::vector<std::uint64_t> addresses{1000, 9000};
      if (!table_->Register(addresses, std::vector<std::uint64_t>{100, 100}).ok()) std::abort();
      std::uint64_t extra = 2000 + static_cast<std::uint64_t>(i % 50) * 100;
      if (!Register(extra, 10).ok()) std::abort();
      if (!Deregister(extra).ok() || !Deregister(9000).ok() || !Deregister(1000).ok()) std::abort();
    }
  });
  int both = 0;
  for (int reads = 0; reads < 50'000 || both == 0; ++reads) {
    if (reads % 100 == 0) std::this_thread::yield();  // on a busy machine the owner gets its turn
    RegisteredView::Transfer transfer(*view_);
    auto version = view_->BeginRead();
    if (!version.has_value()) continue;
    bool second = Covers(9000, 100);
    bool first = Covers(1000, 100);
    if (!view_->EndRead(*version)) continue;
    ASSERT_TRUE(first || !second) << "9000 goes first";
    both += first && second;
  }
  stop = true;
  owner.join();
}

}  // namespace
}  // namespace memfabric
