// Who may link to whom, how often, how many at once, and what is left when it is over.

#include <dirent.h>

#include <barrier>
#include <fstream>
#include <thread>

#include "contract/transport_fixture.h"

namespace memfabric::transport::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TransportLinks : public TransportFixture,
                       public testing::WithParamInterface<std::tuple<std::string, PeerAs>> {
 protected:
  std::string transport() const override { return std::get<0>(GetParam()); }
  PeerAs peer_as() const override { return std::get<1>(GetParam()); }
};

TEST_P(TransportLinks, ConnectingAgainIsOk) {
  auto me = OpenMember(Options(kMe));
  auto peer = StartPeer(Options(kPeer));
  ASSERT_OK(me->port().Connect(peer->address(), Soon()));
  auto link = me->LinkTo(kPeer, 1);
  ASSERT_OK(me->port().Connect(peer->address(), Soon()));
  ASSERT_OK(peer->Connect(me->address()));
  EXPECT_EQ(me->LinkTo(kPeer, 1), link) << "the link was replaced";
  EXPECT_EQ(me->violations(), "");
}

TEST_P(TransportLinks, APeerThatLeavesSaysGoodbye) {
  auto me = OpenMember(Options(kMe));
  auto peer = StartPeer(Options(kPeer));
  ASSERT_OK(me->port().Connect(peer->address(), Soon()));
  auto link = me->LinkTo(kPeer, 1);
  ASSERT_OK(peer->Leave());
  auto end = me->LinkEnd(kPeer, 1);
  ASSERT_TRUE(end.has_value());
  EXPECT_OK(*end);
  std::vector<std::byte> one(1);
  EXPECT_TRUE(IsDisconnected(PutNow(*link, kHost, one, 0)));
  EXPECT_TRUE(IsDisconnected(GetNow(*link, kHost, one, 0)));
  EXPECT_TRUE(IsDisconnected(link->Flush(Soon())));
  EXPECT_TRUE(IsDisconnected(me->port().Connect(peer->address(), Soon())));
}

TEST_P(TransportLinks, ARestartedPeerIsANewLifeAndTheOldOneIsOver) {
  auto me = OpenMember(Options(kMe));
  auto first = StartPeer(Options(kPeer, 5));
  ASSERT_OK(me->port().Connect(first->address(), Soon()));
  auto old_link = me->LinkTo(kPeer, 5);

  auto second = StartPeer(Options(kPeer, 6));  // while the first still lives
  ASSERT_OK(second->Connect(me->address()));
  auto end = me->LinkEnd(kPeer, 5);
  ASSERT_TRUE(end.has_value());
  EXPECT_TRUE(IsDisconnected(*end)) << *end;
  auto link = me->LinkTo(kPeer, 6);
  ASSERT_NE(link, nullptr);
  auto bytes = Pattern(1, 1_MiB);
  EXPECT_TRUE(IsDisconnected(PutNow(*old_link, kHost, bytes, 0)));
  ASSERT_OK(PutNow(*link, kHost, bytes, 0));
  EXPECT_EQ(second->DigestOf(kHost, 0, 1_MiB), Digest(bytes));
  EXPECT_EQ(first->DigestOf(kHost, 0, 1_MiB), DigestOfZeros(1_MiB))
      << "a new life's bytes went to the old one";

  EXPECT_TRUE(IsDisconnected(me->port().Connect(first->address(), Soon())))
      << "a life that is over was linked";
  Status status = first->Connect(me->address());
  EXPECT_TRUE(IsAlreadyExists(status)) << status;
  EXPECT_THAT(status.message(), AllOf(HasSubstr("epoch 5"), HasSubstr("epoch 6")));
  EXPECT_EQ(me->violations(), "");
}

TEST_P(TransportLinks, AMemberThatComesBackInTheSameLifeIsLinkedAnew) {
  auto me = OpenMember(Options(kMe));
  auto first = StartPeer(Options(kPeer));
  ASSERT_OK(me->port().Connect(first->address(), Soon()));
  ASSERT_OK(first->Leave());
  auto second = StartPeer(Options(kPeer));
  ASSERT_OK(me->port().Connect(second->address(), Soon()));
  auto link = me->LinkTo(kPeer, 1);
  auto bytes = Pattern(1, 4096);
  ASSERT_OK(PutNow(*link, kHost, bytes, 0));
  EXPECT_EQ(second->DigestOf(kHost, 0, 4096), Digest(bytes));
  EXPECT_EQ(me->violations(), "");
}

TEST_P(TransportLinks, AnotherLifeThanTheOneAskedForIsNotLinked) {
  auto me = OpenMember(Options(kMe));
  auto peer = StartPeer(Options(kPeer, 6));
  MemberAddress address = peer->address();
  address.epoch = 7;
  Status status = me->port().Connect(address, Soon());
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_THAT(status.message(), AllOf(HasSubstr("rank 1 epoch 7 of job/7"), HasSubstr("isn't")));
}

TEST_P(TransportLinks, WhatDoesntFitIsRefusedAndBothValuesAreNamed) {
  auto me = OpenMember(Options(kMe));
  MemberOptions options = Options(kPeer);
  options.world_size = 5;
  auto other_world = StartPeer(options);
  Status status = me->port().Connect(other_world->address(), Soon());
  EXPECT_TRUE(IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("world size 4"), HasSubstr("5"), HasSubstr("rank 1")));

  options = Options(kPeer);
  options.max_bytes[1] = 16_MiB;
  auto other_slots = StartPeer(options);
  status = me->port().Connect(other_slots->address(), Soon());
  EXPECT_TRUE(IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("8388608"), HasSubstr("16777216"), HasSubstr("rank 1")));

  options = Options(kPeer);
  options.pool = "job/8";
  auto other_pool = StartPeer(options);
  MemberAddress lying = other_pool->address();
  EXPECT_TRUE(IsInvalidArgument(me->port().Connect(lying, Soon())));
  lying.pool = "job/7";
  status = me->port().Connect(lying, Soon());
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_THAT(status.message(), AllOf(HasSubstr("epoch 1 of job/7"), HasSubstr("isn't")));

  auto good = StartPeer(Options(kPeer));
  MemberAddress wrong_key = good->address();
  wrong_key.advert.back() = wrong_key.advert.back() == '0' ? '1' : '0';
  status = me->port().Connect(wrong_key, Soon());
  EXPECT_TRUE(IsDisconnected(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("key"));
  MemberAddress garbage = good->address();
  garbage.advert = "tcp://nowhere";
  EXPECT_TRUE(IsInvalidArgument(me->port().Connect(garbage, Soon())));
  MemberAddress myself = me->address();
  EXPECT_TRUE(IsInvalidArgument(me->port().Connect(myself, Soon())));
  EXPECT_EQ(me->links_up(), 0u);

  ASSERT_OK(me->port().Connect(good->address(), Soon())) << "a refusal spoiled the port";
}

TEST_P(TransportLinks, TwoThatConnectToEachOtherAtOnceGetOneLink) {
  for (std::uint64_t round = 1; round <= 30; ++round) {
    // Either of the two may have the lower rank.
    Rank mine = round % 2 == 0 ? 0 : 3;
    Rank theirs = 3 - mine;
    auto me = OpenMember(Options(mine, round));
    auto peer = StartPeer(Options(theirs, round));
    std::barrier start(2);
    Status from_peer;
    std::thread thread([&] {
      start.arrive_and_wait();
      from_peer = peer->Connect(me->address());
    });
    start.arrive_and_wait();
    Status from_me = me->port().Connect(peer->address(), Soon());
    thread.join();
    ASSERT_OK(from_me);
    ASSERT_OK(from_peer);
    auto link = me->LinkTo(theirs, round);
    ASSERT_NE(link, nullptr);
    auto bytes = Pattern(static_cast<unsigned>(round), 100'000);
    ASSERT_OK(PutNow(*link, kHost, bytes, 0)) << "round " << round;
    ASSERT_EQ(peer->DigestOf(kHost, 0, 100'000), Digest(bytes));
    ASSERT_TRUE(peer->LinkedTo(mine, round));
    ASSERT_OK(peer->CheckPromises());
    ASSERT_EQ(me->violations(), "");
  }
}

TEST_P(TransportLinks, ManyPeersAreConnectedToAtOnce) {
  for (Rank peers : {1u, 2u, 7u, 63u}) {
    MemberOptions options = Options(peers);  // the last to come
    options.world_size = 64;
    options.max_bytes = {0, 2_MiB};
    options.allocated_bytes = {0, 2_MiB};
    auto me = OpenMember(options);
    std::vector<std::unique_ptr<Peer>> others;
    std::vector<MemberAddress> addresses;
    for (Rank rank = 0; rank < peers; ++rank) {
      options.rank = rank;
      others.push_back(StartPeer(options));
      addresses.push_back(others.back()->address());
    }
    auto statuses = me->port().ConnectAll(addresses, Soon());
    ASSERT_EQ(statuses.size(), peers);
    for (Rank rank = 0; rank < peers; ++rank) {
      ASSERT_OK(statuses[rank]);
      auto bytes = Pattern(rank, 10'000);
      ASSERT_OK(PutNow(*me->LinkTo(rank, 1), kHost, bytes, 64 * rank));
    }
    for (Rank rank = 0; rank < peers; ++rank) {
      EXPECT_EQ(others[rank]->DigestOf(kHost, 64 * rank, 10'000), Digest(Pattern(rank, 10'000)));
    }
    EXPECT_EQ(me->links_up(), peers);
  }
}

TEST_P(TransportLinks, OneBadAddressDelaysNoOther) {
  auto me = OpenMember(Options(kMe));
  auto good = StartPeer(Options(2));
  auto gone = StartPeer(Options(kPeer));
  ASSERT_OK(gone->Leave());
  MemberAddress outside = good->address();
  outside.rank = 4;
  std::vector<MemberAddress> addresses{gone->address(), outside, good->address()};
  auto statuses = me->port().ConnectAll(addresses, Soon());
  EXPECT_TRUE(IsDisconnected(statuses[0])) << statuses[0];
  EXPECT_TRUE(IsInvalidArgument(statuses[1])) << statuses[1];
  EXPECT_OK(statuses[2]);
}

std::size_t Entries(const char* directory) {
  std::size_t count = 0;
  DIR* dir = ::opendir(directory);
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count;
}

std::size_t SegmentMappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);)
    count += line.find("memfd:") != std::string::npos;
  return count;
}

TEST_P(TransportLinks, TwoHundredMembersLeaveNothingBehind) {
  auto peer = StartPeer(Options(kPeer));
  auto cycle = [&](std::uint64_t epoch) {
    auto me = OpenMember(Options(kMe, epoch));
    ASSERT_OK(me->port().Connect(peer->address(), Soon()));
    ASSERT_NE(me->LinkTo(kPeer, 1), nullptr);
  };
  cycle(1);
  cycle(2);
  std::size_t fds = 0, mappings = 0, threads = 0;
  for (std::uint64_t epoch = 3; epoch <= 203; ++epoch) {
    cycle(epoch);
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_OK(peer->CheckPromises());
    if (epoch != 3) continue;
    fds = Entries("/proc/self/fd");
    mappings = SegmentMappings();
    threads = Entries("/proc/self/task");
  }
  // A peer in this process maps the last member's slot until another takes it, and may not have
  // closed its socket yet, to which a buffer belongs.
  EXPECT_LE(Entries("/proc/self/fd"), fds + 1);
  EXPECT_LE(SegmentMappings(), mappings + 1);
  EXPECT_EQ(Entries("/proc/self/task"), threads);
}

INSTANTIATE_TEST_SUITE_P(All, TransportLinks,
                         testing::Combine(AvailableTransports(),
                                          testing::Values(PeerAs::kThread, PeerAs::kProcess)),
                         TestNameOfPair);

}  // namespace
}  // namespace memfabric::transport::test
