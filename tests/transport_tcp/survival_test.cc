// Peers that stop, die, reset or don't read in the middle of a payload, and many at once.

#include <sys/resource.h>

#include <atomic>
#include <barrier>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "base/wait.h"
#include "transport_tcp/raw_peer.h"
#include "transport_tcp/relay.h"

namespace memfabric::transport::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using tcp::Op;
using testing::HasSubstr;

constexpr seconds kDeathBound{2};  // docs/contract/python.md §2
constexpr seconds kStopBound{5};

class TcpSurvival : public TransportFixture, public testing::WithParamInterface<std::string> {
 protected:
  std::string transport() const override { return GetParam(); }
  PeerAs peer_as() const override { return PeerAs::kProcess; }

  void SetUp() override {
    me_ = OpenMember(Options(kMe));
    good_ = StartPeer(Options(2));
    ASSERT_OK(me_->port().Connect(good_->address(), Soon()));
  }
  void TearDown() override {
    OthersGoOn();
    EXPECT_EQ(me_->violations(), "");
  }
  void OthersGoOn() {
    auto bytes = Pattern(++round_, 1_MiB);
    ASSERT_OK(PutNow(*me_->LinkTo(2, 1), kHost, bytes, 0));
    EXPECT_EQ(good_->DigestOf(kHost, 0, 1_MiB), Digest(bytes));
  }
  std::shared_ptr<Link> LinkToNew(Rank rank, std::unique_ptr<Peer>& peer) {
    peer = StartPeer(Options(rank));
    Status status = me_->port().Connect(peer->address(), Soon());
    EXPECT_TRUE(status.ok()) << status;
    return me_->LinkTo(rank, 1);
  }

  std::unique_ptr<Member> me_;
  std::unique_ptr<Peer> good_;
  unsigned round_ = 0;
};

// Moves 4 MiB there or back until that fails; tells when it has done so twice.
class Mover {
 public:
  Mover(std::shared_ptr<Link> link, bool put) {
    thread_ = std::thread([this, link = std::move(link), put] {
      auto bytes = Pattern(1, 4_MiB);
      while (status.ok()) {
        status = put ? PutNow(*link, kHost, bytes, 0) : GetNow(*link, kHost, bytes, 0);
        ++rounds_;
        rounds_.notify_all();
      }
      ended = steady_clock::now();
    });
    for (int seen = rounds_; seen < 2; seen = rounds_) rounds_.wait(seen);
  }
  void Join() { thread_.join(); }

  Status status;
  steady_clock::time_point ended;

 private:
  std::atomic<int> rounds_{0};
  std::thread thread_;
};

TEST_P(TcpSurvival, APeerKilledInMidPayloadIsGoneInTime) {
  for (bool put : {true, false}) {
    std::unique_ptr<Peer> peer;
    Mover mover(LinkToNew(kPeer, peer), put);
    auto begin = steady_clock::now();
    peer->Kill();
    mover.Join();
    EXPECT_TRUE(IsDisconnected(mover.status)) << mover.status;
    EXPECT_THAT(mover.status.message(), HasSubstr("rank 1"));
    EXPECT_LT(mover.ended - begin, kDeathBound);
    ASSERT_TRUE(me_->LinkEnd(kPeer, 1).has_value());
  }
}

// TlsTxSw of /proc/net/tls_stat: sockets that the kernel ever encrypted for. Nothing without its
// module `tls`.
std::optional<std::uint64_t> EncryptedByTheKernel() {
  std::ifstream file("/proc/net/tls_stat");
  std::string name;
  for (std::uint64_t value = 0; file >> name >> value;) {
    if (name == "TlsTxSw") return value;
  }
  return std::nullopt;
}

TEST_P(TcpSurvival, WhereTheKernelHasTlsItEncrypts) {
  const auto before = EncryptedByTheKernel();
  if (!before.has_value()) GTEST_SKIP() << "the kernel has no TLS here (modprobe tls)";
  std::unique_ptr<Peer> peer;
  auto link = LinkToNew(kPeer, peer);
  auto bytes = Pattern(7, 4_MiB);
  ASSERT_OK(PutNow(*link, kHost, bytes, 0));
  EXPECT_EQ(peer->DigestOf(kHost, 0, 4_MiB), Digest(bytes));
  EXPECT_EQ(GetParam() == "tcp+tls", EncryptedByTheKernel() > before);
  // A peer that is gone raises no SIGPIPE here either, which would end this process.
  peer->Kill();
  for (Status put; put.ok();) put = PutNow(*link, kHost, bytes, 0);
}

TEST_P(TcpSurvival, APeerStoppedInMidPayloadIsGivenUpInTimeAndHoldsUpNobody) {
  for (bool put : {true, false}) {
    std::unique_ptr<Peer> peer;
    Mover mover(LinkToNew(kPeer, peer), put);
    auto begin = steady_clock::now();
    peer->Stop();
    OthersGoOn();
    mover.Join();
    EXPECT_TRUE(IsDisconnected(mover.status)) << mover.status;
    EXPECT_THAT(mover.status.message(), HasSubstr("rank 1"));
    EXPECT_LT(mover.ended - begin, kStopBound);
    ASSERT_TRUE(me_->LinkEnd(kPeer, 1).has_value());
  }
}

TEST_P(TcpSurvival, ADeadlineEndsAWaitAndTheBytesArriveLater) {
  std::unique_ptr<Peer> peer;
  auto link = LinkToNew(kPeer, peer);
  auto bytes = Pattern(3, 4_MiB);
  Piece piece{bytes.data(), 0, bytes.size()};
  peer->Stop();
  ASSERT_OK(link->zones()->Put(kHost, {&piece, 1}));
  auto begin = steady_clock::now();
  Status status = link->Flush(begin + milliseconds(100));
  EXPECT_TRUE(IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("rank 1"));
  Result<std::uint64_t> former =
      link->signals()->Atomic(kHost, {}, steady_clock::now() + milliseconds(50));
  EXPECT_TRUE(IsDeadlineExceeded(former.status())) << former.status();
  EXPECT_LT(steady_clock::now() - begin, kDeathBound);
  peer->Continue();
  ASSERT_OK(link->Flush(Soon()));
  EXPECT_EQ(peer->DigestOf(kHost, 0, 4_MiB), Digest(bytes));
}

TEST_P(TcpSurvival, ASignalEndsAWait) {
  std::unique_ptr<Peer> peer;
  auto link = LinkToNew(kPeer, peer);
  peer->Stop();
  auto bytes = Pattern(3, 4_MiB);
  InterruptCheck former = SetInterruptCheck([] { return 1; });
  auto begin = steady_clock::now();
  Status status = PutNow(*link, kHost, bytes, 0);
  SetInterruptCheck(former);
  EXPECT_TRUE(IsInterrupted(status)) << status;
  EXPECT_LT(steady_clock::now() - begin, kDeathBound);
}

TEST_P(TcpSurvival, AResetInMidPayloadHurtsNobodyElse) {
  RawPeer raw(me_->address());
  if (GetParam() != "tcp") GTEST_SKIP() << "a peer made by hand speaks plain";
  ASSERT_TRUE(raw.Link(3, Options(3)));
  ASSERT_NE(me_->LinkTo(3, 1), nullptr);
  FillPattern(me_->memory(kHost), 4_MiB, 8);
  raw.Send({.op = Op::kPut,
            .zone = 1,
            .count = 1,
            .sequence = 1,
            .token = raw.tokens()[1],
            .target = 1_MiB,
            .size_bytes = 1_MiB});
  raw.Send(Pattern(9, 500'000));
  raw.Send({.op = Op::kPing});  // inside the payload: it is no frame
  raw.Reset();
  auto end = me_->LinkEnd(3, 1);
  ASSERT_TRUE(end.has_value());
  EXPECT_TRUE(IsDisconnected(*end)) << *end;
  auto expected = Pattern(8, 4_MiB);
  EXPECT_EQ(Digest(me_->memory(kHost), 1_MiB), Digest(expected.data(), 1_MiB))
      << "before the range";
  EXPECT_EQ(Digest(me_->memory(kHost) + 2_MiB, 2_MiB), Digest(expected.data() + 2_MiB, 2_MiB))
      << "after the range";
}

TEST_P(TcpSurvival, APeerThatReadsNothingStallsNobodyElse) {
  if (GetParam() != "tcp") GTEST_SKIP() << "a peer made by hand speaks plain";
  RawPeer raw(me_->address());
  ASSERT_TRUE(raw.Link(3, Options(3)));
  tcp::Header get{
      .op = Op::kGet, .zone = 1, .count = 1, .token = raw.tokens()[1], .size_bytes = 4_MiB};
  for (get.sequence = 1; get.sequence <= tcp::kMaxUnanswered; ++get.sequence) raw.Send(get);
  for (int i = 0; i < 10; ++i) OthersGoOn();
  // It reads slowly, and what it gets is right.
  FillPattern(me_->memory(kHost), 4_MiB, 8);
  tcp::Header data = raw.NextHeader();
  EXPECT_EQ(data.op, Op::kData);
  EXPECT_EQ(data.size_bytes, 4_MiB);
  EXPECT_EQ(raw.TakePayload(4_MiB).size(), 4_MiB);
  ASSERT_EQ(raw.NextHeader().sequence, 2u);
  auto second = raw.TakePayload(4_MiB);
  EXPECT_EQ(Digest(second.data() + 3_MiB, 1_MiB), Digest(Pattern(8, 4_MiB).data() + 3_MiB, 1_MiB));
}

TEST_P(TcpSurvival, ASlowNetworkIsNoDeath) {
  auto peer = StartPeer(Options(kPeer));
  MemberAddress address = peer->address();
  auto advert = *tcp::ParseAdvert(address.advert);
  Relay relay(advert.address, Relay::Pace::kSlow);
  advert.address = relay.address();
  address.advert = tcp::EncodeAdvert(advert);
  ASSERT_OK(me_->port().Connect(address, Soon()));
  auto link = me_->LinkTo(kPeer, 1);
  auto bytes = Pattern(1, 4_MiB);  // for 4 s, longer than silence is borne
  ASSERT_OK(PutNow(*link, kHost, bytes, 0));
  EXPECT_EQ(peer->DigestOf(kHost, 0, 4_MiB), Digest(bytes));
  link.reset();
  peer->Kill();  // ends the relay
}

// At 1 MB/s, as all of the next three.
class TcpSlowly : public TcpSurvival {
 protected:
  void SetUp() override {
    TcpSurvival::SetUp();
    peer_ = StartPeer(Options(kPeer));
    MemberAddress address = peer_->address();
    auto advert = *tcp::ParseAdvert(address.advert);
    relay_ = std::make_unique<Relay>(advert.address, Relay::Pace::kSlow);
    advert.address = relay_->address();
    address.advert = tcp::EncodeAdvert(advert);
    ASSERT_OK(me_->port().Connect(address, Soon()));
    link_ = me_->LinkTo(kPeer, 1);
    ASSERT_NE(link_, nullptr);
  }
  void TearDown() override {
    link_.reset();
    peer_->Kill();  // ends the relay
    relay_.reset();
    TcpSurvival::TearDown();
  }
  Status Move(bool put, std::vector<std::byte>& bytes, Bound bound) {
    Piece piece{bytes.data(), 0, bytes.size()};
    RETURN_IF_ERROR(put ? link_->zones()->Put(kHost, {&piece, 1})
                        : link_->zones()->Get(kHost, {&piece, 1}));
    return link_->Flush(bound);
  }

  std::unique_ptr<Peer> peer_;
  std::unique_ptr<Relay> relay_;
  std::shared_ptr<Link> link_;
};

TEST_P(TcpSlowly, WhatMovesIsNotLateWhateverItTakes) {
  auto bytes = Pattern(1, 2_MiB);
  auto begin = steady_clock::now();
  ASSERT_OK(Move(true, bytes, Bound::WithoutProgress(seconds(1))));
  EXPECT_GT(steady_clock::now() - begin, seconds(1));
  EXPECT_EQ(peer_->DigestOf(kHost, 0, 2_MiB), Digest(bytes));
  std::vector<std::byte> back(2_MiB);
  begin = steady_clock::now();
  ASSERT_OK(Move(false, back, Bound::WithoutProgress(seconds(1))));
  EXPECT_GT(steady_clock::now() - begin, seconds(1));
  EXPECT_EQ(back, bytes);
}

TEST_P(TcpSlowly, WhatDoesNotMoveIsLate) {
  peer_->Stop();
  std::vector<std::byte> bytes(8);
  auto begin = steady_clock::now();
  Status status = Move(false, bytes, Bound::WithoutProgress(milliseconds(300)));
  EXPECT_TRUE(IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("nothing has moved for 0.3 s"));
  EXPECT_LT(steady_clock::now() - begin, seconds(1));
  peer_->Continue();
}

// 64 times what a second takes: were it padded, or sent on, the next request would wait a minute.
TEST_P(TcpSlowly, WhatIsGivenUpDoesNotHoldUpTheNext) {
  for (bool put : {true, false}) {
    std::vector<std::byte> four(4_MiB, std::byte{9});
    std::vector<Piece> pieces(16, Piece{four.data(), 0, four.size()});
    ASSERT_OK(put ? link_->zones()->Put(kHost, pieces) : link_->zones()->Get(kHost, pieces));
    SetCallDeadline(steady_clock::now() + milliseconds(300));
    Status status = link_->Flush(Bound::WithoutProgress(seconds(60)));
    SetCallDeadline(TimePoint::max());
    EXPECT_TRUE(IsDeadlineExceeded(status)) << status;
    auto begin = steady_clock::now();
    auto bytes = Pattern(put ? 1 : 2, 100);
    ASSERT_OK(Move(true, bytes, Soon()));
    // what both sockets hold, and a segment
    EXPECT_LT(steady_clock::now() - begin, seconds(25)) << put;
    EXPECT_EQ(peer_->DigestOf(kHost, 0, 100), Digest(bytes));
  }
}

INSTANTIATE_TEST_SUITE_P(All, TcpSlowly, testing::Values("tcp", "tcp+tls"),
                         [](const auto& info) { return TestName(info.param); });

TEST_P(TcpSurvival, BothEndsPutAndGetAtOnceFromSeveralThreads) {
  auto other = OpenMember(Options(3));
  ASSERT_OK(me_->port().Connect(other->address(), Soon()));
  auto there = me_->LinkTo(3, 1);
  auto back = other->LinkTo(kMe, 1);
  std::barrier start(8);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      Link& link = i % 2 == 0 ? *there : *back;
      const std::uint64_t at = static_cast<std::uint64_t>(i / 2) * 1_MiB;
      start.arrive_and_wait();
      for (unsigned round = 0; round < 20; ++round) {
        auto bytes = Pattern(100 * static_cast<unsigned>(i) + round, 1_MiB);
        ASSERT_OK(PutNow(link, kHost, bytes, at));
        std::vector<std::byte> again(bytes.size());
        ASSERT_OK(GetNow(link, kHost, again, at));
        ASSERT_EQ(again, bytes);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_P(TcpSurvival, AGetSeesWhatWasThereBeforeALaterPut) {
  auto link = me_->LinkTo(2, 1);
  auto old_bytes = Pattern(1, 4_MiB);
  ASSERT_OK(PutNow(*link, kHost, old_bytes, 0));
  for (unsigned round = 0; round < 10; ++round) {
    std::vector<std::byte> got(4_MiB);
    auto new_bytes = Pattern(2 + round, 4_MiB);
    Piece get{got.data(), 0, got.size()};
    Piece put{new_bytes.data(), 0, new_bytes.size()};
    ASSERT_OK(link->zones()->Get(kHost, {&get, 1}));
    ASSERT_OK(link->zones()->Put(kHost, {&put, 1}));
    ASSERT_OK(link->Flush(Soon()));
    ASSERT_EQ(got, old_bytes) << "round " << round;
    old_bytes = std::move(new_bytes);
  }
}

TEST_P(TcpSurvival, EightPeersPutIntoOneAtOnce) {
  MemberOptions options = Options(0);
  options.world_size = 9;
  auto target = OpenMember(options);
  std::vector<std::unique_ptr<Member>> peers;
  for (Rank rank = 1; rank <= 8; ++rank) {
    options.rank = rank;
    options.allocated_bytes = {};
    peers.push_back(OpenMember(options));
    ASSERT_OK(peers.back()->port().Connect(target->address(), Soon()));
  }
  std::barrier start(8);
  std::vector<std::thread> threads;
  for (Rank rank = 1; rank <= 8; ++rank) {
    threads.emplace_back([&, rank] {
      auto link = peers[rank - 1]->LinkTo(0, 1);
      auto bytes = Pattern(rank, 512_KiB);
      start.arrive_and_wait();
      for (int round = 0; round < 20; ++round)
        ASSERT_OK(PutNow(*link, kHost, bytes, (rank - 1) * 512_KiB));
    });
  }
  for (auto& thread : threads) thread.join();
  for (Rank rank = 1; rank <= 8; ++rank) {
    EXPECT_EQ(Digest(target->memory(kHost) + (rank - 1) * 512_KiB, 512_KiB),
              Digest(Pattern(rank, 512_KiB)));
  }
}

TEST_P(TcpSurvival, IPv6IsAsGood) {
  MemberOptions options = Options(3);
  options.near_host = "::1";
  auto other = OpenMember(options);
  if (other->address().advert.find("[::1]") == std::string::npos)
    GTEST_SKIP() << "this machine has no IPv6";
  ASSERT_OK(me_->port().Connect(other->address(), Soon()));
  auto bytes = Pattern(1, 1_MiB);
  ASSERT_OK(PutNow(*me_->LinkTo(3, 1), kHost, bytes, 0));
  EXPECT_EQ(Digest(other->memory(kHost), 1_MiB), Digest(bytes));
}

TEST_P(TcpSurvival, WithoutPollingItWorksAndNonsenseIsRefused) {
  for (const char* nonsense : {"-1", "1001", "5x", "fast"}) {
    ::setenv("MEMFABRIC_SPIN_US", nonsense, 1);
    auto member = Member::Open(Options(3));
    EXPECT_TRUE(IsInvalidArgument(member.status())) << member.status();
    EXPECT_THAT(member.status().message(), testing::AllOf(HasSubstr("MEMFABRIC_SPIN_US"),
                                                          HasSubstr(nonsense), HasSubstr("1000")));
  }
  ::setenv("MEMFABRIC_SPIN_US", "0", 1);
  auto asleep = OpenMember(Options(3));
  ::unsetenv("MEMFABRIC_SPIN_US");
  ASSERT_OK(asleep->port().Connect(me_->address(), Soon()));
  auto link = asleep->LinkTo(kMe, 1);
  for (unsigned i = 0; i < 100; ++i) {
    auto bytes = Pattern(i, 64);
    ASSERT_OK(PutNow(*link, kHost, bytes, 0));
    std::vector<std::byte> back(64);
    ASSERT_OK(GetNow(*link, kHost, back, 0));
    ASSERT_EQ(back, bytes);
  }
}

TEST_P(TcpSurvival, WithoutDescriptorsConnectingFailsAndLaterWorks) {
  auto peer = StartPeer(Options(kPeer));
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;  // below what is open: no more of them
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  Status status = me_->port().Connect(peer->address(), Soon());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(IsOutOfMemory(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("ulimit -n"));
  ASSERT_OK(me_->port().Connect(peer->address(), Soon()));
}

TEST_P(TcpSurvival, CallersWaitWhileThereAreNoDescriptorsAndAreServedThen) {
  auto peer = StartPeer(Options(kPeer));
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  Status status;
  std::atomic<bool> connected{false};
  std::thread connecting([&] {
    status = peer->Connect(me_->address());
    connected = true;
  });
  OthersGoOn();  // with what is open already
  EXPECT_FALSE(connected);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  connecting.join();
  EXPECT_OK(status);
}

INSTANTIATE_TEST_SUITE_P(All, TcpSurvival, testing::Values("tcp", "tcp+tls"),
                         [](const auto& info) { return TestName(info.param); });

}  // namespace
}  // namespace memfabric::transport::test
