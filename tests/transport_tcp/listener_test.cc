// Several members of one process at one listener: each is found by its own advert, and one that
// leaves takes nothing from the others.

#include <thread>

#include "contract/transport_fixture.h"
#include "transport/tcp/advert.h"
#include "transport_tcp/raw_peer.h"

namespace memfabric::transport::test {
namespace {

using testing::HasSubstr;

// What an advert says beside the key.
std::string WhereOf(const Member& member) {
  const std::string advert = member.address().advert;
  return advert.substr(0, advert.rfind(advert.starts_with("memfabric-tcp") ? " key=" : " "));
}

class Listener : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Member> Open(const std::string& pool, Rank rank, const Member* beside = nullptr) {
    MemberOptions options;
    options.transport = GetParam();
    options.pool = pool;
    options.rank = rank;
    options.max_bytes = options.allocated_bytes = {0, 2_MiB};
    options.beside = beside;
    auto member = Member::Open(options);
    EXPECT_TRUE(member.ok()) << member.status();
    return member.ok() ? *std::move(member) : nullptr;
  }
};

INSTANTIATE_TEST_SUITE_P(Each, Listener, AvailableTransports(),
                         [](const auto& info) { return TestName(info.param); });

TEST_P(Listener, MembersThatOpenAtOnceAreMetAtOnePlace) {
  auto first = Open("first", 0);
  auto other_process = Open("first", 1);
  std::unique_ptr<Member> members[4];
  {
    std::vector<std::jthread> threads;
    for (Rank rank : {0u, 1u, 2u, 3u})
      threads.emplace_back([&, rank] { members[rank] = Open("second", rank, first.get()); });
  }
  for (const auto& member : members) {
    ASSERT_NE(member, nullptr);
    EXPECT_EQ(WhereOf(*member), WhereOf(*first));
    EXPECT_NE(member->address().advert, first->address().advert) << "a key for both";
  }
  // Two services are called at once.
  auto second = Open("second", 0, other_process.get());
  members[0].reset();
  {
    std::jthread one([&] { EXPECT_OK(other_process->port().Connect(first->address(), Soon())); });
    for (Rank rank : {1u, 2u, 3u})
      EXPECT_OK(second->port().Connect(members[rank]->address(), Soon()));
  }
  EXPECT_EQ(first->links_up(), 1u);
  EXPECT_EQ(second->links_up(), 3u);
}

TEST_P(Listener, AMemberThatHasLeftIsGoneAndItsNeighbourIsNot) {
  auto stays = Open("stays", 0);
  auto leaves = Open("leaves", 0, stays.get());
  auto caller = Open("leaves", 1);
  const MemberAddress former = leaves->address();
  leaves.reset();
  Status gone = caller->port().Connect(former, Soon());
  EXPECT_TRUE(IsDisconnected(gone)) << gone;
  // Another life of it at the same place is another member.
  auto back = Open("leaves", 0, stays.get());
  EXPECT_EQ(WhereOf(*back), WhereOf(*stays));
  gone = caller->port().Connect(former, Soon());
  EXPECT_TRUE(IsDisconnected(gone)) << gone;
  ASSERT_OK(caller->port().Connect(back->address(), Soon()));
  EXPECT_EQ(stays->links_up(), 0u);
}

TEST_P(Listener, WhoHasReadOneMembersAddressCantMeetAnother) {
  auto open = Open("open", 0);
  auto closed = Open("closed", 0, open.get());
  auto caller = Open("closed", 1);
  MemberAddress address = closed->address();
  address.advert = open->address().advert;
  Status refused = caller->port().Connect(address, Soon());
  EXPECT_TRUE(IsDisconnected(refused)) << refused;
  EXPECT_THAT(refused.message(), HasSubstr("key"));
  EXPECT_EQ(closed->links_up(), 0u);
}

TEST_P(Listener, TheSameMemberTwiceIsRefused) {
  auto first = Open("pool", 0);
  MemberOptions again;
  again.transport = GetParam();
  again.pool = "pool";
  again.max_bytes = again.allocated_bytes = {0, 2_MiB};
  again.beside = first.get();
  EXPECT_TRUE(IsInvalidArgument(Member::Open(again).status()));
  auto caller = Open("pool", 1);
  EXPECT_OK(caller->port().Connect(first->address(), Soon()));
}

class TcpListener : public testing::Test {
 protected:
  static MemberOptions Options(const std::string& pool, const std::string& nic, PortRange ports,
                               const Member* beside) {
    MemberOptions options;
    options.transport = "tcp";
    options.pool = pool;
    options.max_bytes = options.allocated_bytes = {0, 2_MiB};
    options.nic = nic;
    options.ports = ports;
    options.beside = beside;
    return options;
  }
  static int PortOf(const Member& member) {
    return tcp::ParseAdvert(member.address().advert)->address.port;
  }
};

TEST_F(TcpListener, WhoLeavesWhileACallerIntroducesItselfIsNamed) {
  auto stays = *Member::Open(Options("stays", "", {}, nullptr));
  MemberOptions options = Options("leaves", "", {}, stays.get());
  auto leaves = *Member::Open(options);
  RawPeer caller(leaves->address());
  ASSERT_TRUE(caller.ShakeHands());
  caller.Send(tcp::EncodePreface({}));
  ASSERT_EQ(caller.NextHeader().op, tcp::Op::kPreface);
  leaves.reset();
  caller.SendHello(1, options);
  const tcp::Header control = caller.NextHeader();
  ASSERT_EQ(control.op, tcp::Op::kControl);
  const auto bytes = caller.Take(control.size_bytes);
  auto message = meeting::ParseMessage(bytes);
  ASSERT_TRUE(message.ok()) << message.status();
  const auto& refused = std::get<meeting::Refused>(*message);
  EXPECT_EQ(refused.kind, Kind::kDisconnected);
  EXPECT_THAT(refused.reason, testing::AllOf(HasSubstr("leaves"), HasSubstr("isn't here")));
  EXPECT_TRUE(caller.IsClosed());
}

TEST_F(TcpListener, AGivenPortServesAllAndARankGetsItsOwn) {
  auto free = tcp::Listen({"127.0.0.1", 0});
  ASSERT_TRUE(free.ok());
  const int port = free->address.port;
  if (port + 5 > 65535) GTEST_SKIP() << "no range behind it";
  free->socket.Reset();
  const std::string nic = fmt::format("tcp://127.0.0.1:{}", port);
  const PortRange pools{.own = 0, .spare = 2, .says_which = true};
  auto pool = *Member::Open(Options("pool", nic, pools, nullptr));
  ASSERT_EQ(PortOf(*pool), port);
  auto second = *Member::Open(Options("second", nic, pools, pool.get()));
  auto object = *Member::Open(Options("object", "", {}, pool.get()));
  auto engine = *Member::Open(Options("engine", nic, {}, pool.get()));
  for (const auto* each : {&second, &object, &engine}) EXPECT_EQ(PortOf(**each), port);
  // Rank 1's own port isn't that one.
  auto other =
      *Member::Open(Options("other", nic, {.own = 1, .spare = 2, .says_which = true}, pool.get()));
  EXPECT_EQ(PortOf(*other), port + 1);
  // Encrypted or not is the listener's.
  MemberOptions encrypts = Options("secret", nic, pools, pool.get());
  encrypts.transport = "tcp+tls";
  EXPECT_EQ(PortOf(**Member::Open(encrypts)), port + 2);
  // The last one takes the listener with it.
  pool.reset();
  second.reset();
  object.reset();
  EXPECT_EQ(PortOf(*engine), port);
  engine.reset();
  EXPECT_TRUE(tcp::Listen({"127.0.0.1", static_cast<std::uint16_t>(port)}).ok());
}

}  // namespace
}  // namespace memfabric::transport::test
