// Memory that the peer's user owns and has registered there: reached while it is, and never
// afterwards.

#include <atomic>
#include <thread>

#include "contract/transport_fixture.h"

namespace memfabric::transport::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TransportRegistered : public TransportFixture,
                            public testing::WithParamInterface<std::tuple<std::string, PeerAs>> {
 protected:
  std::string transport() const override { return std::get<0>(GetParam()); }
  PeerAs peer_as() const override { return std::get<1>(GetParam()); }

  void SetUp() override {
    me_ = OpenMember(Options(kMe));
    peer_ = StartPeer(Options(kPeer));
    ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
    link_ = me_->LinkTo(kPeer, 1);
    ASSERT_NE(link_->registered(), nullptr);
    ASSERT_TRUE(link_->registered()->reaches_all());
  }
  Status Put(std::vector<std::byte>& bytes, std::uint64_t address) {
    Piece piece{bytes.data(), address, bytes.size()};
    RETURN_IF_ERROR(link_->registered()->Put({&piece, 1}));
    return link_->Flush(Soon());
  }
  Status Get(std::vector<std::byte>& bytes, std::uint64_t address) {
    Piece piece{bytes.data(), address, bytes.size()};
    RETURN_IF_ERROR(link_->registered()->Get({&piece, 1}));
    return link_->Flush(Soon());
  }

  std::unique_ptr<Member> me_;
  std::unique_ptr<Peer> peer_;
  std::shared_ptr<Link> link_;
};

TEST_P(TransportRegistered, BytesGoInAndOutAndNothingElseChanges) {
  const std::uint64_t address = peer_->RegisterBuffer(3_MiB, 1);
  auto bytes = Pattern(2, 1_MiB);
  ASSERT_OK(Put(bytes, address + 1001));
  EXPECT_EQ(peer_->DigestOfBuffer(1001, 1_MiB), Digest(bytes));
  auto before = Pattern(1, 3_MiB);
  EXPECT_EQ(peer_->DigestOfBuffer(0, 1001), Digest(before.data(), 1001));
  EXPECT_EQ(peer_->DigestOfBuffer(1001 + 1_MiB, 4096), Digest(before.data() + 1001 + 1_MiB, 4096));
  std::vector<std::byte> back(1_MiB);
  ASSERT_OK(Get(back, address + 1001));
  EXPECT_EQ(back, bytes);
}

TEST_P(TransportRegistered, AListGoesToManyPlaces) {
  const std::uint64_t address = peer_->RegisterBuffer(1_MiB, 1);
  const std::size_t count = std::min<std::size_t>(link_->registered()->max_pieces(), 200);
  auto bytes = Pattern(3, count * 700);
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < count; ++i)
    pieces.push_back({bytes.data() + i * 700, address + (count - 1 - i) * 1500, 700});
  ASSERT_OK(link_->registered()->Put(pieces));
  std::vector<std::byte> back(bytes.size());
  for (std::size_t i = 0; i < count; ++i) pieces[i].local = back.data() + i * 700;
  ASSERT_OK(link_->registered()->Get(pieces));
  ASSERT_OK(link_->Flush(Soon()));
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(peer_->DigestOfBuffer((count - 1) * 1500, 700), Digest(bytes.data(), 700));
}

TEST_P(TransportRegistered, WhatIsNotRegisteredIsRefusedByNameAndTheLinkGoesOn) {
  const std::uint64_t address = peer_->RegisterBuffer(1_MiB, 1);
  auto bytes = Pattern(2, 300'000);
  for (std::uint64_t bad :
       {address + 1_MiB - 299'999, address - 1, std::uint64_t{0}, ~std::uint64_t{0} - 10}) {
    Status status = Put(bytes, bad);
    EXPECT_TRUE(IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr("300000"), HasSubstr("not registered"), HasSubstr("rank 1")));
    std::vector<std::byte> back(300'000, std::byte{0x11});
    status = Get(back, bad);
    EXPECT_TRUE(IsInvalidArgument(status)) << status;
    EXPECT_TRUE(
        std::all_of(back.begin(), back.end(), [](std::byte b) { return b == std::byte{0x11}; }));
    EXPECT_OK(link_->Flush(Soon())) << "an error was told twice";
  }
  EXPECT_EQ(peer_->DigestOfBuffer(0, 1_MiB), Digest(Pattern(1, 1_MiB)));
  ASSERT_OK(Put(bytes, address));
  auto mine = Pattern(4, 1000);
  ASSERT_OK(PutNow(*link_, kHost, mine, 0));
}

TEST_P(TransportRegistered, AnErrorIsTheThreadsThatAsked) {
  const std::uint64_t address = peer_->RegisterBuffer(1_MiB, 1);
  std::atomic<bool> refused{false};
  std::thread wrong([&] {
    auto bytes = Pattern(2, 1000);
    Piece piece{bytes.data(), 0, bytes.size()};
    EXPECT_OK(link_->registered()->Put({&piece, 1}));
    refused = true;
    refused.notify_all();
    EXPECT_TRUE(IsInvalidArgument(link_->Flush(Soon())));
  });
  refused.wait(false);
  auto bytes = Pattern(3, 1000);
  EXPECT_OK(Put(bytes, address));
  wrong.join();
}

TEST_P(TransportRegistered, MoreRequestsThanMayWaitForAnswersAreCarriedOutAll) {
  const std::uint64_t address = peer_->RegisterBuffer(1_MiB, 1);
  std::vector<std::byte> back(1000 * 100);
  auto bytes = Pattern(5, 1000 * 100);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    Piece put{bytes.data() + i * 100, address + i * 1000, 100};
    Piece get{back.data() + i * 100, address + i * 1000, 100};
    ASSERT_OK(link_->registered()->Put({&put, 1}));
    ASSERT_OK(link_->registered()->Get({&get, 1}));
  }
  ASSERT_OK(link_->Flush(Soon()));
  EXPECT_EQ(back, bytes);
}

TEST_P(TransportRegistered, DeregisteringUnderTrafficEndsIt) {
  for (unsigned round = 0; round < 10; ++round) {
    const std::uint64_t address = peer_->RegisterBuffer(4_MiB, round);
    std::atomic<int> done{0};
    Status status;
    std::thread moving([&] {
      auto bytes = Pattern(77, 4_MiB);
      while (status.ok()) {
        status = round % 2 == 0 ? Put(bytes, address) : Get(bytes, address);
        ++done;
        done.notify_all();
      }
    });
    done.wait(0);
    ASSERT_OK(peer_->DeregisterBuffer(100 + round));
    moving.join();
    EXPECT_TRUE(IsInvalidArgument(status)) << status;
    EXPECT_EQ(peer_->DigestOfBuffer(0, 4_MiB), Digest(Pattern(100 + round, 4_MiB)))
        << "touched after it was deregistered";
  }
}

// Those with Capabilities::registered; the others say Unsupported (transport_contract_test.cc).
INSTANTIATE_TEST_SUITE_P(All, TransportRegistered,
                         testing::Combine(testing::Values("tcp", "tcp+tls"),
                                          testing::Values(PeerAs::kThread, PeerAs::kProcess)),
                         TestNameOfPair);

}  // namespace
}  // namespace memfabric::transport::test
