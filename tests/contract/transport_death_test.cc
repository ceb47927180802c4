// Peers that are killed or stopped, in each phase. They are processes.

#include <sys/mman.h>

#include <atomic>
#include <thread>

#include "base/wait.h"
#include "contract/transport_fixture.h"

namespace memfabric::transport::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;

// docs/contract/python.md §2: a copy to a dead peer fails within it
constexpr seconds kDeathBound{2};

class TransportDeath : public TransportFixture, public testing::WithParamInterface<std::string> {
 protected:
  std::string transport() const override { return GetParam(); }
  PeerAs peer_as() const override { return PeerAs::kProcess; }

  void SetUp() override {
    me_ = OpenMember(Options(kMe));
    peer_ = StartPeer(Options(kPeer));
  }
  void TearDown() override { EXPECT_EQ(me_->violations(), ""); }

  std::unique_ptr<Member> me_;
  std::unique_ptr<Peer> peer_;
};

TEST_P(TransportDeath, APeerKilledBeforeTheHandshakeIsGone) {
  peer_->Kill();
  auto begin = steady_clock::now();
  Status status = me_->port().Connect(peer_->address(), Soon());
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("rank 1"));
  EXPECT_LT(steady_clock::now() - begin, kDeathBound);
}

TEST_P(TransportDeath, APeerKilledDuringTheHandshakeIsGone) {
  ASSERT_OK(peer_->HoldArrivals());
  Status status;
  std::thread connecting([&] { status = me_->port().Connect(peer_->address(), Soon()); });
  EXPECT_OK(peer_->WaitForArrival());
  auto begin = steady_clock::now();
  peer_->Kill();
  connecting.join();
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_LT(steady_clock::now() - begin, kDeathBound);
  EXPECT_EQ(me_->links_up(), 0u);
}

TEST_P(TransportDeath, AConnectorKilledDuringTheHandshakeLeavesNoLink) {
  me_->HoldArrivals();
  std::thread connecting([&] { EXPECT_FALSE(peer_->Connect(me_->address()).ok()); });
  EXPECT_TRUE(me_->WaitForArrival());
  // The order's answer never comes: the process is killed by another thread than the one that waits
  // for it.
  ::kill(peer_->pid(), SIGKILL);
  connecting.join();
  me_->Admit();
  auto end = me_->LinkEnd(kPeer, 1);
  ASSERT_TRUE(end.has_value());
  EXPECT_TRUE(IsDisconnected(*end)) << *end;
  EXPECT_EQ(me_->links_up(), 0u);
}

TEST_P(TransportDeath, AKilledPeerIsNoticedAtOnceAndNamed) {
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  auto link = me_->LinkTo(kPeer, 1);
  auto begin = steady_clock::now();
  peer_->Kill();
  auto end = me_->LinkEnd(kPeer, 1);
  EXPECT_LT(steady_clock::now() - begin, kDeathBound);
  ASSERT_TRUE(end.has_value());
  EXPECT_TRUE(IsDisconnected(*end)) << *end;
  EXPECT_THAT(end->message(),
              AllOf(HasSubstr("rank 1"), HasSubstr(fmt::format("pid {}", peer_->pid())),
                    HasSubstr("died")));
  std::vector<std::byte> bytes(1);
  Status status = PutNow(*link, kHost, bytes, 0);
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("died"));
}

TEST_P(TransportDeath, APeerKilledInMidTransferFailsTheTransferAndHurtsNobody) {
  auto other = StartPeer(Options(2));
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  ASSERT_OK(me_->port().Connect(other->address(), Soon()));
  auto link = me_->LinkTo(kPeer, 1);
  std::atomic<int> rounds{0};
  Status status;
  steady_clock::time_point ended;
  std::thread copying([&] {
    auto bytes = Pattern(1, 4_MiB);
    while (status.ok()) {
      status = PutNow(*link, kHost, bytes, 0);
      if (status.ok()) status = GetNow(*link, kHost, bytes, 0);
      ++rounds;
      rounds.notify_all();
    }
    ended = steady_clock::now();
  });
  for (int seen = rounds; seen < 2; seen = rounds) rounds.wait(seen);
  auto begin = steady_clock::now();
  peer_->Kill();
  copying.join();
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_LT(ended - begin, kDeathBound);
  auto bytes = Pattern(2, 1_MiB);
  ASSERT_OK(PutNow(*me_->LinkTo(2, 1), kHost, bytes, 0));
  EXPECT_EQ(other->DigestOf(kHost, 0, 1_MiB), Digest(bytes));
}

TEST_P(TransportDeath, AKilledPeerComesBackAsANewLife) {
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  peer_->Kill();
  auto again = StartPeer(Options(kPeer, 2));
  ASSERT_OK(again->Connect(me_->address()));
  auto link = me_->LinkTo(kPeer, 2);
  ASSERT_NE(link, nullptr);
  ASSERT_TRUE(me_->LinkEnd(kPeer, 1).has_value());
  auto bytes = Pattern(2, 1_MiB);
  ASSERT_OK(PutNow(*link, kHost, bytes, 0));
  EXPECT_EQ(again->DigestOf(kHost, 0, 1_MiB), Digest(bytes));
}

TEST_P(TransportDeath, ConnectingToAStoppedPeerEndsAtTheDeadlineAndWorksLater) {
  peer_->Stop();
  auto begin = steady_clock::now();
  Status status = me_->port().Connect(peer_->address(), begin + milliseconds(200));
  EXPECT_TRUE(IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("rank 1"));
  EXPECT_GE(steady_clock::now() - begin, milliseconds(200));
  EXPECT_LT(steady_clock::now() - begin, kDeathBound);
  auto other = StartPeer(Options(2));
  ASSERT_OK(me_->port().Connect(other->address(), Soon())) << "a stopped peer held up another";
  peer_->Continue();
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  ASSERT_OK(peer_->CheckPromises());
}

TEST_P(TransportDeath, AnnouncingToAStoppedPeerNamesItAndReachesTheOthers) {
  auto other = StartPeer(Options(2));
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  ASSERT_OK(me_->port().Connect(other->address(), Soon()));
  peer_->Stop();
  Status status = me_->Grow(kHost, 6_MiB, steady_clock::now() + milliseconds(200));
  EXPECT_TRUE(IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status.message(), AllOf(HasSubstr("rank 1"), testing::Not(HasSubstr("rank 2"))));
  peer_->Continue();
  ASSERT_OK(me_->port().Announce(Soon()));
}

TEST_P(TransportDeath, ASignalEndsAWait) {
  peer_->Stop();
  InterruptCheck former = SetInterruptCheck([] { return 1; });
  auto begin = steady_clock::now();
  Status status = me_->port().Connect(peer_->address(), Soon());
  SetInterruptCheck(former);
  EXPECT_TRUE(IsInterrupted(status)) << status;
  EXPECT_LT(steady_clock::now() - begin, kDeathBound);
}

// More than sockets hold, so that some of it is never begun, some is under way, and some has been
// answered.
TEST_P(TransportDeath, AFlushThatGivesUpLeavesTheCallersMemoryAloneAndTheLinkGood) {
  constexpr std::size_t kBytes = 4_MiB;
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  auto link = me_->LinkTo(kPeer, 1);
  for (bool put : {true, false}) {
    auto* memory = static_cast<std::byte*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(MAP_FAILED, static_cast<void*>(memory));
    FillPattern(memory, kBytes, 4);
    peer_->Stop();
    Piece piece{memory, 0, kBytes};
    for (int i = 0; i < 16; ++i)
      ASSERT_OK(put ? link->zones()->Put(kHost, {&piece, 1})
                    : link->zones()->Get(kHost, {&piece, 1}));
    Status status = link->Flush(steady_clock::now() + milliseconds(100));
    EXPECT_TRUE(link->load_store() ? status.ok() : IsDeadlineExceeded(status)) << status;
    const std::uint64_t left_as = Digest(memory, kBytes);
    if (put) ::mprotect(memory, kBytes, PROT_NONE);
    peer_->Continue();
    for (unsigned seed : {5, 6}) {
      auto bytes = Pattern(seed, 1_MiB);
      ASSERT_OK(PutNow(*link, kHost, bytes, 0));
      EXPECT_EQ(peer_->DigestOf(kHost, 0, 1_MiB), Digest(bytes));
      std::vector<std::byte> back(1_MiB);
      ASSERT_OK(GetNow(*link, kHost, back, 0));
      EXPECT_EQ(Digest(back), Digest(bytes));
    }
    if (!put) {
      EXPECT_EQ(left_as, Digest(memory, kBytes));
    }
    ::munmap(memory, kBytes);
  }
}

TEST_P(TransportDeath, AMemberLeavesThoughAPeerIsStopped) {
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  peer_->Stop();
  auto begin = steady_clock::now();
  me_->Leave();
  EXPECT_LT(steady_clock::now() - begin, kDeathBound);
}

INSTANTIATE_TEST_SUITE_P(All, TransportDeath, AvailableTransports(),
                         [](const auto& info) { return TestName(info.param); });

// What only messages can do: be on their way.
class FakeFaultsTest : public TransportDeath {};

TEST_P(FakeFaultsTest, FlushEndsAtTheDeadlineAndTheBytesArriveLater) {
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  auto link = me_->LinkTo(kPeer, 1);
  ASSERT_OK(peer_->HoldAnswers());
  auto bytes = Pattern(3, 200'000);
  Piece piece{bytes.data(), 0, bytes.size()};
  ASSERT_OK(link->zones()->Put(kHost, {&piece, 1}));
  Status status = link->Flush(steady_clock::now() + milliseconds(50));
  EXPECT_TRUE(IsDeadlineExceeded(status)) << status;
  ASSERT_OK(peer_->ReleaseAnswers());
  ASSERT_OK(link->Flush(Soon()));
  EXPECT_EQ(peer_->DigestOf(kHost, 0, 200'000), Digest(bytes));
}

TEST_P(FakeFaultsTest, APeerThatDiesAfterSomeBytesFailsTheFlush) {
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  auto link = me_->LinkTo(kPeer, 1);
  ASSERT_OK(peer_->DieAfterBytes(1_MiB));
  auto bytes = Pattern(3, 2_MiB);
  Status status = PutNow(*link, kHost, bytes, 0);
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_EQ(peer_->DigestOf(kHost, 1_MiB, 1_MiB), DigestOfZeros(1_MiB));
}

TEST_P(FakeFaultsTest, APeerMayRefuse) {
  ASSERT_OK(peer_->RefuseLinks());
  Status status = me_->port().Connect(peer_->address(), Soon());
  EXPECT_TRUE(IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("the test refuses links"));
}

INSTANTIATE_TEST_SUITE_P(All, FakeFaultsTest, testing::Values("fake"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace memfabric::transport::test
