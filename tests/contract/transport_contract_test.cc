// What every transport does with bytes, whatever it is made of.

#include <atomic>
#include <cstring>
#include <thread>

#include "contract/transport_fixture.h"

namespace memfabric::transport::test {
namespace {

using testing::HasSubstr;

class TransportContract : public TransportFixture,
                          public testing::WithParamInterface<std::tuple<std::string, PeerAs>> {
 protected:
  std::string transport() const override { return std::get<0>(GetParam()); }
  PeerAs peer_as() const override { return std::get<1>(GetParam()); }

  void SetUp() override {
    me_ = OpenMember(Options(kMe));
    peer_ = StartPeer(Options(kPeer));
  }
  std::shared_ptr<Link> Connect() {
    Status status = me_->port().Connect(peer_->address(), Soon());
    EXPECT_TRUE(status.ok()) << status;
    return status.ok() ? me_->LinkTo(kPeer, peer_->address().epoch) : nullptr;
  }
  void TearDown() override {
    EXPECT_EQ(me_->violations(), "");
    EXPECT_OK(peer_->CheckPromises());
  }

  std::unique_ptr<Member> me_;
  std::unique_ptr<Peer> peer_;
};

TEST_P(TransportContract, ALinkSaysWhoseItIs) {
  auto link = Connect();
  ASSERT_NE(link, nullptr);
  EXPECT_EQ(link->rank(), kPeer);
  EXPECT_EQ(link->epoch(), 1u);
  EXPECT_EQ(link->path(), transport());
  EXPECT_EQ(link->zones()->allocated_bytes(), (ZoneBytes{2_MiB, 4_MiB}));
  EXPECT_GE(link->zones()->max_pieces(), 1u);
}

TEST_P(TransportContract, PutIsVisibleToThePeerAfterFlushAndTouchesNothingElse) {
  auto link = Connect();
  auto bytes = Pattern(7, 1_MiB);
  ASSERT_OK(PutNow(*link, kHost, bytes, 4097));
  EXPECT_EQ(peer_->DigestOf(kHost, 4097, 1_MiB), Digest(bytes));
  EXPECT_EQ(peer_->DigestOf(kHost, 0, 4097), DigestOfZeros(4097))
      << "bytes before the range changed";
  EXPECT_EQ(peer_->DigestOf(kHost, 4097 + 1_MiB, 4096), DigestOfZeros(4096))
      << "bytes after the range changed";
  EXPECT_EQ(peer_->DigestOf(kDevice, 0, 2_MiB), DigestOfZeros(2_MiB)) << "the other zone changed";
}

TEST_P(TransportContract, GetBringsThePeersBytesAndTouchesNothingElse) {
  auto link = Connect();
  ASSERT_OK(peer_->Fill(kDevice, 0, 2_MiB, 3));
  std::vector<std::byte> bytes(100'000 + 2, std::byte{0xee});
  Piece piece{bytes.data() + 1, 12'345, 100'000};
  ASSERT_OK(link->zones()->Get(kDevice, {&piece, 1}));
  ASSERT_OK(link->Flush(Soon()));
  for (std::uint64_t i = 0; i < 100'000; ++i)
    ASSERT_EQ(bytes[i + 1], PatternAt(3, 12'345 + i)) << i;
  EXPECT_EQ(bytes.front(), std::byte{0xee});
  EXPECT_EQ(bytes.back(), std::byte{0xee});
}

TEST_P(TransportContract, TheFirstAndTheLastByteAreReachedAndNoneBeyond) {
  auto link = Connect();
  std::vector<std::byte> one{std::byte{0x5a}};
  ASSERT_OK(PutNow(*link, kHost, one, 0));
  ASSERT_OK(PutNow(*link, kHost, one, 4_MiB - 1));
  ASSERT_OK(GetNow(*link, kHost, one, 4_MiB - 1));
  EXPECT_EQ(one[0], std::byte{0x5a});

  std::vector<std::byte> all(4_MiB, std::byte{0x11});
  for (auto [offset, size] : {std::pair<std::uint64_t, std::uint64_t>{4_MiB, 1},
                              {4_MiB - 1, 2},
                              {1, 4_MiB},
                              {~std::uint64_t{0}, 1},
                              {~std::uint64_t{0} - 1, 4}}) {
    Piece piece{all.data(), offset, size};
    EXPECT_TRUE(IsInvalidArgument(link->zones()->Put(kHost, {&piece, 1}))) << offset << " " << size;
    EXPECT_TRUE(IsInvalidArgument(link->zones()->Get(kHost, {&piece, 1}))) << offset << " " << size;
  }
  ASSERT_OK(link->Flush(Soon()));
  EXPECT_EQ(peer_->DigestOf(kHost, 1, 4_MiB - 2), DigestOfZeros(4_MiB - 2))
      << "a refused put moved bytes";
  EXPECT_TRUE(std::all_of(all.begin(), all.end(), [](std::byte b) { return b == std::byte{0x11}; }))
      << "a refused get moved bytes";
}

TEST_P(TransportContract, AtomicsArePerformedAtThePeerAndRefusedOutsideItsMemory) {
  using Operation = AtomicRequest::Operation;
  auto link = Connect();
  if (link->signals() == nullptr) GTEST_SKIP() << "has no signals";
  auto perform = [&](Operation operation, std::uint64_t operand, std::uint64_t expected = 0) {
    auto former = link->signals()->Atomic(kHost, {operation, 4_MiB - 8, operand, expected}, Soon());
    EXPECT_TRUE(former.ok()) << former.status();
    return former.ok() ? *former : ~std::uint64_t{0};
  };
  EXPECT_EQ(perform(Operation::kFetchAdd, 5), 0u);
  EXPECT_EQ(perform(Operation::kFetchAdd, ~std::uint64_t{0}), 5u);
  EXPECT_EQ(perform(Operation::kCompareSwap, 9, 3), 4u) << "the cell doesn't hold 3";
  EXPECT_EQ(perform(Operation::kCompareSwap, 9, 4), 4u);
  EXPECT_EQ(perform(Operation::kSwap, 0b1100), 9u);
  EXPECT_EQ(perform(Operation::kFetchAnd, 0b0110), 0b1100u);
  EXPECT_EQ(perform(Operation::kFetchOr, 0b0011), 0b0100u);
  EXPECT_EQ(perform(Operation::kFetchXor, 0b0001), 0b0111u);
  EXPECT_EQ(perform(Operation::kFetch, 0), 0b0110u);
  std::vector<std::byte> cell(8);
  ASSERT_OK(GetNow(*link, kHost, cell, 4_MiB - 8));
  EXPECT_EQ(cell, (std::vector<std::byte>{std::byte{0b0110}, {}, {}, {}, {}, {}, {}, {}}));
  for (std::uint64_t offset : {std::uint64_t{4_MiB}, std::uint64_t{4}, ~std::uint64_t{7}})
    EXPECT_TRUE(IsInvalidArgument(
        link->signals()->Atomic(kHost, {Operation::kFetchAdd, offset, 1, 0}, Soon()).status()))
        << offset;
}

TEST_P(TransportContract, WhoServesRequestsSaysSoBeforeTheyAreAnswered) {
  auto other = OpenMember(Options(2));
  ASSERT_OK(other->port().Connect(me_->address(), Soon()));
  auto link = other->LinkTo(kMe, 1);
  // the others reach memory without its owner
  const int each = transport().starts_with("tcp") ? 1 : 0;
  auto bytes = Pattern(1, 1_MiB);
  ASSERT_OK(PutNow(*link, kHost, bytes, 0));
  EXPECT_EQ(each, me_->served(kHost));
  ASSERT_OK(GetNow(*link, kHost, bytes, 0));
  EXPECT_EQ(each, me_->served(kHost)) << "nothing has changed by a get";
  if (link->signals() == nullptr) return;
  ASSERT_TRUE(
      link->signals()
          ->Atomic(
              kHost,
              {.operation = AtomicRequest::Operation::kFetchAdd, .slot_offset = 8, .operand = 1},
              Soon())
          .ok());
  EXPECT_EQ(2 * each, me_->served(kHost));
  EXPECT_EQ(0, me_->served(Zone::kDevice));
}

// Two threads that take turns: each writes, signals, and waits for the other's signal, after which
// it sees what was written.
TEST_P(TransportContract, SignalsShowThePutsBeforeThemAndEndTheWaitForThem) {
  auto other = OpenMember(Options(2));
  ASSERT_OK(other->port().Connect(me_->address(), Soon()));
  if (me_->LinkTo(2, 1)->signals() == nullptr) GTEST_SKIP() << "has no signals";
  constexpr std::uint64_t kTurns = 300;
  auto take_turns = [](Member& own, Link& link, std::uint64_t first) {
    std::atomic_ref<std::uint64_t> flag(*reinterpret_cast<std::uint64_t*>(own.memory(kDevice)));
    for (std::uint64_t turn = first; turn <= kTurns; turn += 2) {
      auto bytes = Pattern(static_cast<unsigned>(turn), 5000);
      auto signal = [&]() -> Status {
        if (turn == 0) return Ok();  // the other begins
        Piece piece{bytes.data(), 8, bytes.size()};
        RETURN_IF_ERROR(link.zones()->Put(kHost, {&piece, 1}));
        return link.signals()->Signal(kDevice, 0, std::as_bytes(std::span(&turn, 1)), Soon());
      };
      auto reached = [&] { return flag.load() >= turn + 1; };
      if (turn == kTurns) {
        EXPECT_OK(signal());
        EXPECT_OK(link.Flush(Soon()));
        return;
      }
      ASSERT_OK(link.signals()->AwaitSignal(Soon(), signal, reached));
      while (!reached()) std::this_thread::yield();  // where nobody's help is needed
      ASSERT_OK(link.Flush(Soon()));
      auto expected = Pattern(static_cast<unsigned>(turn + 1), 5000);
      ASSERT_EQ(0, std::memcmp(own.memory(kHost) + 8, expected.data(), expected.size())) << turn;
    }
  };
  std::thread second([&] { take_turns(*other, *other->LinkTo(kMe, 1), 1); });
  take_turns(*me_, *me_->LinkTo(2, 1), 0);
  second.join();
}

TEST_P(TransportContract, AWaitForASignalEndsAtItsDeadlineAndWithThePeer) {
  auto link = Connect();
  if (link->signals() == nullptr) GTEST_SKIP() << "has no signals";
  bool begun = false;
  auto begin = [&] { return begun = true, Ok(); };
  auto now = std::chrono::steady_clock::now();
  EXPECT_TRUE(IsDeadlineExceeded(link->signals()->AwaitSignal(now, begin, [] { return false; })));
  EXPECT_TRUE(begun);
  EXPECT_TRUE(IsOutOfMemory(link->signals()->AwaitSignal(
      Soon(), [] { return OutOfMemory("begin's"); }, [] { return true; })));
  const std::vector<std::byte> many(kMaxSignalBytes + 1);
  EXPECT_TRUE(IsInvalidArgument(link->signals()->Signal(kHost, 0, many, Soon())));
  EXPECT_TRUE(IsInvalidArgument(link->signals()->Signal(kHost, 0, {}, Soon())));
  EXPECT_TRUE(IsInvalidArgument(
      link->signals()->Signal(kHost, 4_MiB - 7, std::span(many).first(8), Soon())));
  peer_.reset();
  begun = false;
  EXPECT_TRUE(IsDisconnected(link->signals()->AwaitSignal(Soon(), begin, [] { return false; })));
  EXPECT_TRUE(begun);
  peer_ = StartPeer(Options(kPeer, 2));  // keeps its promises at the end
}

TEST_P(TransportContract, LinksHaveWhatTheirTransportSays) {
  auto link = Connect();
  const Capabilities can = me_->transport().capabilities();
  EXPECT_EQ(link->zones() != nullptr, can.zones);
  EXPECT_EQ(link->load_store(), can.load_store);
  EXPECT_EQ(link->registered() != nullptr, can.registered);
}

TEST_P(TransportContract, ARefusedListMovesNothingOfIt) {
  auto link = Connect();
  auto bytes = Pattern(1, 4096);
  std::vector<Piece> pieces{{bytes.data(), 0, 4096}};
  if (link->zones()->max_pieces() > 1) pieces.push_back({bytes.data(), 4_MiB - 4095, 4096});
  Status status = link->zones()->Put(kHost, pieces);
  if (pieces.size() > 1) {
    EXPECT_TRUE(IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr("4194304"));
    ASSERT_OK(link->Flush(Soon()));
    EXPECT_EQ(peer_->DigestOf(kHost, 0, 4096), DigestOfZeros(4096));
  }
}

TEST_P(TransportContract, AsManyPiecesAsItTakesArriveEachInItsPlace) {
  auto link = Connect();
  std::size_t count = std::min<std::size_t>(link->zones()->max_pieces(), 100);
  auto bytes = Pattern(9, count * 1000);
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < count; ++i)
    pieces.push_back({bytes.data() + i * 1000, (count - 1 - i) * 3000, 1000});
  ASSERT_OK(link->zones()->Put(kHost, pieces));
  ASSERT_OK(link->Flush(Soon()));
  std::vector<std::byte> back(count * 1000);
  for (std::size_t i = 0; i < count; ++i) {
    EXPECT_EQ(peer_->DigestOf(kHost, (count - 1 - i) * 3000, 1000),
              Digest(bytes.data() + i * 1000, 1000));
    pieces[i].local = back.data() + i * 1000;
  }
  ASSERT_OK(link->zones()->Get(kHost, pieces));
  ASSERT_OK(link->Flush(Soon()));
  EXPECT_EQ(back, bytes);
}

TEST_P(TransportContract, LaterPutsOfAThreadWinOverEarlierOnes) {
  auto link = Connect();
  auto first = Pattern(1, 300'000);
  auto second = Pattern(2, 300'000);
  Piece a{first.data(), 0, first.size()};
  Piece b{second.data(), 100'000, second.size()};
  ASSERT_OK(link->zones()->Put(kHost, {&a, 1}));
  ASSERT_OK(link->zones()->Put(kHost, {&b, 1}));
  ASSERT_OK(link->Flush(Soon()));
  EXPECT_EQ(peer_->DigestOf(kHost, 100'000, 300'000), Digest(second));
  EXPECT_EQ(peer_->DigestOf(kHost, 0, 100'000), Digest(first.data(), 100'000));
}

TEST_P(TransportContract, SeveralThreadsUseOneLink) {
  auto link = Connect();
  std::vector<std::vector<std::byte>> bytes;
  for (unsigned i = 0; i < 4; ++i) bytes.push_back(Pattern(i + 20, 500'000));
  std::vector<Status> statuses(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { statuses[i] = PutNow(*link, kHost, bytes[i], i * 1_MiB); });
  }
  for (auto& thread : threads) thread.join();
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_OK(statuses[i]);
    EXPECT_EQ(peer_->DigestOf(kHost, i * 1_MiB, 500'000), Digest(bytes[i]));
  }
}

TEST_P(TransportContract, BothEndsReachEachOther) {
  ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
  ASSERT_TRUE(peer_->LinkedTo(kMe, 1))
      << "Connect returned before the peer's observer had its link";
  auto link = me_->LinkTo(kPeer, 1);
  FillPattern(me_->memory(kHost), 4_MiB, 5);
  EXPECT_EQ(link->zones()->allocated_bytes(), (ZoneBytes{2_MiB, 4_MiB}));
}

TEST_P(TransportContract, APeerThatContributesNothingIsLinkedAndHasNoByte) {
  MemberOptions options = Options(2);
  options.allocated_bytes = {};
  auto consumer = StartPeer(options);
  ASSERT_OK(me_->port().Connect(consumer->address(), Soon()));
  auto link = me_->LinkTo(2, 1);
  EXPECT_EQ(link->zones()->allocated_bytes(), ZoneBytes{});
  std::vector<std::byte> one(1);
  EXPECT_TRUE(IsInvalidArgument(PutNow(*link, kHost, one, 0)));
  EXPECT_TRUE(IsInvalidArgument(GetNow(*link, kDevice, one, 0)));
  ASSERT_OK(consumer->Connect(peer_->address()));
}

TEST_P(TransportContract, GrowthIsReachedOnceAnnounceHasReturned) {
  auto link = Connect();
  auto bytes = Pattern(4, 1_MiB);
  ASSERT_OK(PutNow(*link, kHost, bytes, 0));
  EXPECT_TRUE(IsInvalidArgument(PutNow(*link, kHost, bytes, 4_MiB)));
  ASSERT_OK(peer_->Grow(kHost, 8_MiB));
  EXPECT_EQ(link->zones()->allocated_bytes(), (ZoneBytes{2_MiB, 8_MiB}));
  ASSERT_OK(PutNow(*link, kHost, bytes, 7_MiB));
  EXPECT_EQ(peer_->DigestOf(kHost, 7_MiB, 1_MiB), Digest(bytes));
  EXPECT_EQ(peer_->DigestOf(kHost, 0, 1_MiB), Digest(bytes)) << "growth lost what was there";
  std::vector<std::byte> one(1);
  EXPECT_TRUE(IsInvalidArgument(PutNow(*link, kHost, one, 8_MiB)));
  ASSERT_OK(peer_->Grow(kDevice, 4_MiB));
  ASSERT_OK(PutNow(*link, kDevice, bytes, 3_MiB));
  EXPECT_EQ(peer_->DigestOf(kDevice, 3_MiB, 1_MiB), Digest(bytes));
}

TEST_P(TransportContract, GrowthReachesThoseWhoConnectLater) {
  ASSERT_OK(peer_->Grow(kHost, 6_MiB));
  auto link = Connect();
  EXPECT_EQ(link->zones()->allocated_bytes(), (ZoneBytes{2_MiB, 6_MiB}));
  ASSERT_OK(me_->Grow(kHost, 8_MiB));
  auto third = StartPeer(Options(2));
  ASSERT_OK(third->Connect(me_->address()));
}

TEST_P(TransportContract, LoadsAndStoresReachWhatTheLinkSays) {
  auto link = Connect();
  if (!link->load_store()) GTEST_SKIP() << "moves bytes by messages";
  std::byte* slot = me_->slot(kHost, kPeer);
  ASSERT_OK(peer_->Fill(kHost, 0, 4_MiB, 8));
  EXPECT_EQ(slot[4_MiB - 1], PatternAt(8, 4_MiB - 1));
  slot[17] = std::byte{0x77};
  std::vector<std::byte> one(1);
  ASSERT_OK(GetNow(*link, kHost, one, 17));
  EXPECT_EQ(one[0], std::byte{0x77});
  ASSERT_OK(peer_->Leave());
  ASSERT_TRUE(me_->LinkEnd(kPeer, 1).has_value());
  EXPECT_EQ(slot[17], std::byte{0x77}) << "an orphan keeps its last bytes";
}

INSTANTIATE_TEST_SUITE_P(All, TransportContract,
                         testing::Combine(AvailableTransports(),
                                          testing::Values(PeerAs::kThread, PeerAs::kProcess)),
                         TestNameOfPair);

}  // namespace
}  // namespace memfabric::transport::test
