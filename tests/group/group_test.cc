// Groups of threads: each has Members of its own, over memory that they share, by loads and stores
// or by links that move single bytes, as another host's transport may.

#include "group/group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "base/wait.h"
#include "group/doorbell.h"

namespace memfabric::group {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

Deadline In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }
constexpr auto kLong = 60s;  // never reached unless something is broken

// Memory of all members; sparse.
class World {
 public:
  explicit World(std::uint32_t size) : controls_(size), losses_(size), left_(size) {
    for (auto& control : controls_) control = std::make_unique<Control>();
  }
  std::uint32_t size() const { return static_cast<std::uint32_t>(controls_.size()); }
  Control* control(Rank rank) { return controls_[rank].get(); }

  void Kill(Rank rank, bool orderly = false) {
    left_[rank] = orderly;
    losses_[rank] = true;
    for (auto& control : controls_) WakeSleepers(control->doorbell);
  }
  bool gone(Rank rank) const { return losses_[rank]; }
  bool left(Rank rank) const { return left_[rank]; }

  std::function<void()> on_link;  // called when a link is looked for
  // Blocks that the last rank reads over links come late: once another rank is about to leave.
  // Others' wait for nothing.
  std::atomic<bool> late_reads{false};
  std::atomic<std::uint32_t> leaving{0};

 private:
  std::vector<std::unique_ptr<Control>> controls_;
  std::vector<std::atomic<bool>> losses_;
  std::vector<std::atomic<bool>> left_;
};

class ByteLink final : public transport::Link,
                       public transport::ZoneAccess,
                       public transport::Signalling {
 public:
  ByteLink(World& world, Rank own, Rank rank) : world_(world), own_(own), rank_(rank) {}
  transport::MemberLife peer() const override { return {rank_, 1}; }
  std::string_view path() const override { return "bytes"; }
  transport::ZoneAccess* zones() override { return this; }
  transport::RegisteredAccess* registered() override { return nullptr; }
  transport::Signalling* signals() override { return this; }
  Status Flush(Bound) override {
    return world_.gone(rank_) ? Disconnected("rank {} died", rank_) : Ok();
  }

  transport::ZoneBytes allocated_bytes() const override { return {}; }
  const transport::ZoneChunks* load_store() const override { return nullptr; }
  std::size_t max_pieces() const override { return 1; }
  Status Put(Zone, std::span<const transport::Piece> pieces) override { return Move(pieces, true); }
  Status Get(Zone, std::span<const transport::Piece> pieces) override {
    if (world_.late_reads && own_ == world_.size() - 1 &&
        pieces[0].size_bytes > sizeof(Flag::sequence) * 2) {
      while (world_.leaving == 0) std::this_thread::yield();
      for (auto end = In(20ms); !world_.gone(rank_) && std::chrono::steady_clock::now() < end;)
        std::this_thread::yield();
    }
    return Move(pieces, false);
  }

  Result<std::uint64_t> Atomic(Zone, const transport::AtomicRequest&, Deadline) override {
    return Unsupported("no");
  }
  Status Signal(Zone, std::uint64_t slot_offset, std::span<const std::byte> bytes,
                Deadline) override {
    const transport::Piece piece{const_cast<std::byte*>(bytes.data()), slot_offset, bytes.size()};
    return Move({&piece, 1}, true);
  }
  Status AwaitSignal(Deadline deadline, const std::function<Status()>& begin,
                     const std::function<bool()>& done) override {
    RETURN_IF_ERROR(begin());
    while (!done()) {
      if (std::chrono::steady_clock::now() >= deadline) return DeadlineExceeded("no signal");
      std::this_thread::yield();
    }
    return Ok();
  }

 private:
  Status Move(std::span<const transport::Piece> pieces, bool put) {
    if (world_.gone(rank_)) return Disconnected("rank {} died", rank_);
    auto* slot = reinterpret_cast<unsigned char*>(world_.control(rank_));
    for (const auto& piece : pieces) {
      auto* local = reinterpret_cast<unsigned char*>(piece.local);
      for (std::size_t i = 0; i < piece.size_bytes; ++i) {
        std::atomic_ref<unsigned char> remote(slot[piece.target + i]);
        if (put) {
          remote.store(local[i], std::memory_order_release);
        } else {
          local[i] = remote.load(std::memory_order_acquire);
        }
      }
    }
    return Ok();
  }

  World& world_;
  const Rank own_;
  const Rank rank_;
};

// `hosts`: ranks r and s are on one host when r / hosts == s / hosts.
class ThreadMembers final : public Members {
 public:
  ThreadMembers(World& world, Rank own, std::uint32_t per_host)
      : world_(world), own_(own), per_host_(per_host) {}
  std::uint32_t size() const override { return world_.size(); }
  Rank own() const override { return own_; }
  Control* Mapped(Rank rank) const override {
    return rank / per_host_ == own_ / per_host_ ? world_.control(rank) : nullptr;
  }
  Rank FirstOnHost(Rank rank) const override { return rank / per_host_ * per_host_; }
  std::shared_ptr<transport::Link> LinkOf(Rank rank) const override {
    if (world_.on_link) world_.on_link();
    return world_.gone(rank) ? nullptr : std::make_shared<ByteLink>(world_, own_, rank);
  }
  Zone zone() const override { return Zone::kDevice; }
  std::uint32_t losses() const override {
    std::uint32_t count = 0;
    for (Rank rank = 0; rank < world_.size(); ++rank) count += world_.gone(rank);
    return count;
  }
  Status WhyGone(Rank rank) const override {
    if (!world_.gone(rank)) return Ok();
    return world_.left(rank) ? NotFound("rank {} has left", rank)
                             : Disconnected("rank {} has died", rank);
  }
  std::string Left() const override {
    std::string text;
    for (Rank rank = 0; rank < world_.size(); ++rank)
      if (!world_.gone(rank)) text += (text.empty() ? "" : ", ") + std::to_string(rank);
    return text;
  }

 private:
  World& world_;
  const Rank own_;
  const std::uint32_t per_host_;
};

struct Shape {
  std::uint32_t size;
  std::uint32_t per_host;
  bool crowded;
};

class Groups : public ::testing::TestWithParam<Shape> {
 protected:
  Groups() : world_(GetParam().size) {
    std::vector<Seat> seats;
    for (Rank rank = 0; rank < world_.size(); ++rank) seats.push_back({rank, 3});
    for (Rank rank = 0; rank < world_.size(); ++rank) {
      members_.push_back(std::make_unique<ThreadMembers>(world_, rank, GetParam().per_host));
      groups_.push_back(
          std::make_unique<Group>(*members_[rank], "group", seats, rank, GetParam().crowded));
    }
  }
  // body(rank), a thread each.
  void Everybody(const std::function<void(Rank)>& body) {
    std::vector<std::thread> threads;
    for (Rank rank = 0; rank < world_.size(); ++rank) threads.emplace_back(body, rank);
    for (auto& thread : threads) thread.join();
  }

  World world_;
  std::vector<std::unique_ptr<ThreadMembers>> members_;
  std::vector<std::unique_ptr<Group>> groups_;
};

#if defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kTurns = 300;
#else
constexpr std::uint64_t kTurns = 2000;
#endif

TEST_P(Groups, NobodyLeavesABarrierBeforeAllHaveEntered) {
  std::vector<std::uint64_t> turns(world_.size());  // plain: the barrier is what orders them
  std::atomic<int> wrong{0};
  Everybody([&](Rank rank) {
    for (std::uint64_t turn = 1; turn <= kTurns; ++turn) {
      turns[rank] = turn;
      wrong += !groups_[rank]->Barrier(In(kLong)).ok();
      for (std::uint64_t theirs : turns) wrong += theirs != turn;
      wrong += !groups_[rank]->Barrier(In(kLong)).ok();
    }
  });
  EXPECT_EQ(0, wrong);
}

TEST_P(Groups, GathersBringEverybodysBlocksOfThatTurn) {
  std::atomic<int> wrong{0};
  Everybody([&](Rank rank) {
    for (std::uint64_t turn = 0; turn < kTurns / 4; ++turn) {
      std::size_t size = turn % 3 == 0 ? 8 : turn % 3 == 1 ? 1 : 1000;
      std::vector<std::byte> own(size, static_cast<std::byte>(turn + rank)),
          all(size * world_.size());
      wrong += !groups_[rank]->AllGather(own, all, In(kLong)).ok();
      for (Rank other = 0; other < world_.size(); ++other)
        wrong +=
            std::count(&all[other * size], &all[other * size] + size,
                       static_cast<std::byte>(turn + other)) != static_cast<std::ptrdiff_t>(size);
    }
  });
  EXPECT_EQ(0, wrong);
}

TEST_P(Groups, ATimeoutNamesTheAbsentAndTheNextCallGoesOn) {
  if (world_.size() == 1) return;
  Rank late = world_.size() - 1;
  std::atomic<int> wrong{0};
  Everybody([&](Rank rank) {
    if (rank == late) return;
    Status status = groups_[rank]->Barrier(In(200ms));  // in which all others get that far
    wrong += !IsDeadlineExceeded(status) ||
             status.message().find("rank(s) " + std::to_string(late)) == std::string::npos;
    std::byte byte{};
    std::vector<std::byte> all(world_.size());
    wrong += !IsInvalidArgument(groups_[rank]->AllGather({&byte, 1}, all, In(20ms)));
  });
  EXPECT_EQ(0, wrong);
  Everybody([&](Rank rank) { wrong += !groups_[rank]->Barrier(In(kLong)).ok(); });
  EXPECT_EQ(0, wrong);
}

TEST_P(Groups, ADeathEndsItForAllAndForGood) {
  if (world_.size() == 1) return;
  Rank victim = world_.size() / 2;
  std::atomic<int> wrong{0};
  std::atomic<std::uint32_t> waiting{0};
  Everybody([&](Rank rank) {
    if (rank == victim) {
      while (waiting < world_.size() - 1) std::this_thread::yield();
      return world_.Kill(victim);
    }
    ++waiting;
    for (int call = 0; call < 2; ++call) {
      Status status = groups_[rank]->Barrier(In(kLong));
      wrong += !IsDisconnected(status) ||
               status.message().find("rank " + std::to_string(victim)) == std::string::npos;
    }
  });
  EXPECT_EQ(0, wrong);
}

TEST_P(Groups, WhoLeavesAfterItsPartHurtsNobody) {
  std::atomic<int> wrong{0};
  const std::vector<std::byte> block(100);
  world_.late_reads = true;
  Everybody([&](Rank rank) {
    std::vector<std::byte> all(block.size() * world_.size());
    for (int turn = 0; turn < 5; ++turn) wrong += !groups_[rank]->Barrier(In(kLong)).ok();
    wrong += !groups_[rank]->AllGather(block, all, In(kLong)).ok();
    ++world_.leaving;
    groups_[rank]->Linger(In(kLong));
    world_.Kill(rank, /*orderly=*/true);
  });
  EXPECT_EQ(0, wrong);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Groups,
                         ::testing::Values(Shape{1, 1, false}, Shape{2, 2, false},
                                           Shape{2, 1, false}, Shape{3, 3, true},
                                           Shape{3, 1, false}, Shape{3, 2, true}, Shape{8, 8, true},
                                           Shape{8, 8, false}, Shape{8, 4, true}),
                         [](const auto& info) {
                           return std::to_string(info.param.size) + "By" +
                                  std::to_string(info.param.per_host) +
                                  (info.param.crowded ? "Crowded" : "");
                         });

TEST(Group, DifferentOperationsAreNamed) {
  World world(2);
  std::vector<Seat> seats{{0, 0}, {1, 0}};
  ThreadMembers first(world, 0, 2), second(world, 1, 2);
  Group one(first, "group", seats, 0, false), two(second, "group", seats, 1, false);
  std::vector<std::byte> eight(8), sixteen(16), thirty_two(32);
  std::thread other([&] {
    Status status = two.AllGather(sixteen, thirty_two, In(kLong));
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr("rank 0"), HasSubstr("8 bytes"), HasSubstr("16 bytes")));
  });
  Status status = one.AllGather(eight, sixteen, In(kLong));
  other.join();
  EXPECT_TRUE(IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("rank 1"), HasSubstr("8 bytes"), HasSubstr("16 bytes")));
}

TEST(Group, ADeathJustBeforeTheWaitForASignalEndsIt) {
  World world(4);
  std::vector<Seat> seats{{0, 0}, {1, 0}, {2, 0}, {3, 0}};
  ThreadMembers members(world, 0, 1);
  Group group(members, "group", seats, 0, false);
  // Rank 3, whose signal it waits for, lives, but won't come: it waits for rank 2.
  world.on_link = [&] { world.Kill(2); };
  Status status = group.Barrier(In(kLong));
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("rank 2"));
}

TEST(Group, ACancelledWaitEndsAndGoesOnLater) {
  World world(2);
  std::vector<Seat> seats{{0, 0}, {1, 0}};
  ThreadMembers first(world, 0, 2), second(world, 1, 2);
  Group one(first, "group", seats, 0, false), two(second, "group", seats, 1, false);
  {
    std::atomic<bool> cancelled{true};
    CancelScope scope(cancelled);
    EXPECT_TRUE(IsInterrupted(one.Barrier(In(kLong))));
  }
  std::thread other([&] { EXPECT_TRUE(two.Barrier(In(kLong)).ok()); });
  EXPECT_TRUE(one.Barrier(In(kLong)).ok());
  other.join();
}

}  // namespace
}  // namespace memfabric::group
