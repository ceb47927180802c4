#include "bm/orphans.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <future>
#include <thread>

#include "base/fd.h"

namespace memfabric::bm {
namespace {

using namespace std::chrono_literals;
using transport::Reactor;
using transport::ZoneBytes;

class OrphansTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSlot = 2_MiB;

  void SetUp() override {
    auto reactor = Reactor::Create();
    ASSERT_TRUE(reactor.ok()) << reactor.status();
    reactor_ = std::move(*reactor);
    auto window = Window::ReserveAnywhere(2 * kSlot);
    ASSERT_TRUE(window.ok()) << window.status();
    window_ = *window;
    file_ = UniqueFd(::memfd_create("orphans_test", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(file_.get(), kSlot), 0);
    ASSERT_TRUE(window_->Map(kSlot, kSlot, file_.get(), 0).ok());
    std::memset(window_->data() + kSlot, 7, kSlot);
  }
  void TearDown() override { orphans_->Close(); }

  void Make(std::chrono::seconds keep) {
    PoolLayout layout{.base = 0, .world_size = 2, .max_bytes = {0, kSlot}};
    orphans_ = std::make_shared<Orphans>(window_, layout, gate_, *reactor_, keep);
  }
  bool Emptied() const {
    return reinterpret_cast<const volatile std::byte*>(window_->data())[kSlot] == std::byte{0};
  }
  bool EmptiedSoon() const {
    for (auto deadline = std::chrono::steady_clock::now() + 10s;
         std::chrono::steady_clock::now() < deadline; std::this_thread::yield())
      if (Emptied()) return true;
    return false;
  }
  // What the reactor has to do by now is done, a few times over.
  void LetReactorWork() {
    for (int i = 0; i < 5; ++i) {
      std::promise<void> done;
      reactor_->CallAt(std::chrono::steady_clock::now() + 4ms, [&] { done.set_value(); });
      done.get_future().wait();
    }
  }

  static constexpr ZoneBytes kMapped{0, kSlot};
  ReadGate gate_;
  std::unique_ptr<Reactor> reactor_;
  std::shared_ptr<Window> window_;
  UniqueFd file_;
  std::shared_ptr<Orphans> orphans_;
};

TEST_F(OrphansTest, CopiesThatRunAreLetEndFirst) {
  Make(60s);
  ReadGate::Token copy = gate_.Enter();
  orphans_->Left(1, kMapped);
  LetReactorWork();
  EXPECT_FALSE(Emptied());
  // a copy that begins now finds nothing there, and holds nothing up
  ReadGate::Reader later(gate_);
  gate_.Exit(copy);
  EXPECT_TRUE(EmptiedSoon());
}

TEST_F(OrphansTest, TheDeadAreKept) {
  Make(60s);
  orphans_->Died(1, kMapped);
  LetReactorWork();
  EXPECT_FALSE(Emptied());
  orphans_->HasLeft(1);
  EXPECT_TRUE(EmptiedSoon());
}

TEST_F(OrphansTest, ALifeThatArrivesIsNotEmptied) {
  Make(0s);
  ReadGate::Token copy = gate_.Enter();
  orphans_->Died(1, kMapped);
  LetReactorWork();
  orphans_->Arriving(1);
  orphans_->Arrived(1, kMapped);
  gate_.Exit(copy);
  LetReactorWork();
  EXPECT_FALSE(Emptied());
}

TEST_F(OrphansTest, CloseGivesBackWhatIsStillKept) {
  Make(60s);
  orphans_->Died(1, kMapped);
  orphans_->Close();
  EXPECT_TRUE(Emptied());
}

}  // namespace
}  // namespace memfabric::bm
