// What isn't said as it should be, in each phase: that connection ends, is counted and logged once,
// and costs the others nothing.

#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "base/log.h"
#include "transport_tcp/raw_peer.h"
#include "transport_tcp/relay.h"

namespace memfabric::transport::test {
namespace {

using tcp::Op;
using testing::HasSubstr;

std::vector<std::byte> RandomBytes(unsigned seed, std::size_t size) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

class TcpRubbish : public TransportFixture {
 protected:
  std::string transport() const override { return "tcp"; }
  PeerAs peer_as() const override { return PeerAs::kThread; }

  void SetUp() override {
    log::SetLevel(LogLevel::kWarn);
    log::SetSink([this](LogLevel, const std::string& line) {
      std::lock_guard lock(mutex_);
      lines_.push_back(line);
    });
    me_ = OpenMember(Options(kMe));
    good_ = StartPeer(Options(2));
    ASSERT_OK(good_->Connect(me_->address()));
    ASSERT_OK(me_->port().Connect(good_->address(), Soon()));
  }
  void TearDown() override {
    OthersGoOn();
    EXPECT_EQ(me_->violations(), "");
    me_.reset();
    good_.reset();
    log::SetSink({});
    log::SetLevel(LogLevel::kError);
  }
  void OthersGoOn() {
    auto bytes = Pattern(++round_, 100'000);
    ASSERT_OK(PutNow(*me_->LinkTo(2, 1), kHost, bytes, 0));
    EXPECT_EQ(good_->DigestOf(kHost, 0, 100'000), Digest(bytes));
  }
  // How often it is logged, once what the reactor is at is over: a connection ends before that is
  // told.
  std::size_t Logged(std::string_view text) {
    EXPECT_OK(me_->port().Connect(good_->address(), Soon()));
    std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(
        std::count_if(lines_.begin(), lines_.end(),
                      [&](const auto& line) { return line.find(text) != std::string::npos; }));
  }
  // A peer that has shaken hands and said its preface.
  std::unique_ptr<RawPeer> Known() {
    auto peer = std::make_unique<RawPeer>(me_->address());
    EXPECT_TRUE(peer->ShakeHands());
    peer->Send(tcp::EncodePreface({}));
    return peer;
  }
  // One that has a link, as rank 3.
  std::unique_ptr<RawPeer> Linked() {
    auto peer = std::make_unique<RawPeer>(me_->address());
    EXPECT_TRUE(peer->Link(3, Options(3)));
    EXPECT_NE(me_->LinkTo(3, 1), nullptr);
    return peer;
  }

  std::mutex mutex_;  // guards lines_
  std::vector<std::string> lines_;
  std::unique_ptr<Member> me_;
  std::unique_ptr<Peer> good_;
  unsigned round_ = 0;
};

TEST_F(TcpRubbish, BytesThatAreNoTlsEndTheConnectionAndAreLoggedOnce) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    RawPeer stranger(me_->address());
    stranger.Send(RandomBytes(seed, 1 + seed * 97));
    stranger.StopSending();
    EXPECT_TRUE(stranger.IsClosed()) << seed;  // that of one byte counts as closed by the other end
  }
  RawPeer http(me_->address());
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  http.Send(std::as_bytes(std::span(request)));
  EXPECT_TRUE(http.IsClosed());
  OthersGoOn();
  EXPECT_EQ(Logged("was no peer"), 1u);
  me_->Leave();
  me_ = OpenMember(Options(kMe, 2));
  ASSERT_OK(good_->Connect(me_->address()));
  EXPECT_EQ(Logged("20 connections in all"), 1u);
}

TEST_F(TcpRubbish, AWrongKeyGetsNowhere) {
  MemberAddress wrong = me_->address();
  auto advert = *tcp::ParseAdvert(wrong.advert);
  advert.key[5] ^= 1;
  wrong.advert = tcp::EncodeAdvert(advert);
  RawPeer stranger(wrong);
  EXPECT_FALSE(stranger.ShakeHands());
  EXPECT_TRUE(stranger.IsClosed());
  EXPECT_EQ(Logged("key"), 1u);
}

TEST_F(TcpRubbish, AHandshakeForTheOtherModeGetsNowhere) {
  MemberAddress wrong = me_->address();
  auto advert = *tcp::ParseAdvert(wrong.advert);
  advert.encrypt = true;
  wrong.advert = tcp::EncodeAdvert(advert);
  RawPeer stranger(wrong);
  EXPECT_FALSE(stranger.ShakeHands());
  Status status = me_->port().Connect({"job/7", 3, 1, "here", 1, wrong.advert}, Soon());
  EXPECT_TRUE(IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(),
              testing::AllOf(HasSubstr("encryption"), HasSubstr("on"), HasSubstr("off")));
}

TEST_F(TcpRubbish, AReplayedConnectionGetsNowhere) {
  Relay relay(tcp::ParseAdvert(me_->address().advert)->address, Relay::Pace::kFull);
  {
    RawPeer honest(me_->address(), relay.address());
    ASSERT_TRUE(honest.Link(3, Options(3)));
    ASSERT_NE(me_->LinkTo(3, 1), nullptr);
  }
  ASSERT_TRUE(me_->LinkEnd(3, 1).has_value());
  const std::size_t links = me_->links_up();
  RawPeer replayer(me_->address());
  replayer.Send(relay.Said());
  EXPECT_TRUE(replayer.IsClosed());
  EXPECT_EQ(me_->links_up(), links);
  EXPECT_EQ(Logged("was no peer"), 1u);
}

TEST_F(TcpRubbish, AnotherVersionIsNamed) {
  RawPeer peer(me_->address());
  ASSERT_TRUE(peer.ShakeHands());
  tcp::Header preface = tcp::EncodePreface({});
  preface.count = 9;
  peer.Send(preface);
  EXPECT_TRUE(peer.IsClosed());
  EXPECT_EQ(Logged("tcp version 9, not 3"), 1u);
}

TEST_F(TcpRubbish, NothingButAnIntroductionIsTakenFromWhoHasTheKey) {
  const std::vector<std::function<void(RawPeer&)>> rubbish{
      [](RawPeer& peer) { peer.Send(RandomBytes(1, 4096)); },
      [](RawPeer& peer) { peer.Send(tcp::EncodePreface({})); },
      [](RawPeer& peer) {
        peer.Send({.op = Op::kPut, .count = 1, .sequence = 1, .size_bytes = 8});
      },
      [](RawPeer& peer) { peer.Send({.op = Op::kPing}); },
      [](RawPeer& peer) { peer.Send({.op = Op::kAck, .sequence = 1}); },
      [](RawPeer& peer) {
        peer.Send({.op = Op::kControl, .size_bytes = 248});
        peer.Send(RandomBytes(2, 248));
      },
      [](RawPeer& peer) { peer.Send({.op = Op::kControl, .size_bytes = 513}); },
      [](RawPeer& peer) { peer.SendMessage(meeting::Ready{}); },
      [](RawPeer& peer) { peer.SendMessage(meeting::Bye{}); },
      [](RawPeer& peer) {
        peer.Send(
            std::span<const std::byte>(tcp::EncodeHeader({.op = Op::kControl, .size_bytes = 248}))
                .first(17));
        peer.StopSending();
      },
      [](RawPeer& peer) {
        peer.Send({.op = Op::kControl, .size_bytes = 248});
        peer.StopSending();
      },
  };
  for (std::size_t i = 0; i < rubbish.size(); ++i) {
    auto peer = Known();
    rubbish[i](*peer);
    EXPECT_TRUE(peer->IsClosed()) << i;
    OthersGoOn();
  }
  EXPECT_EQ(me_->links_up(), 1u);
}

TEST_F(TcpRubbish, APeerThatBreaksTheProtocolLosesItsLinkAndNothingIsTouched) {
  FillPattern(me_->memory(kHost), 4_MiB, 5);
  const std::uint64_t before = Digest(me_->memory(kHost), 4_MiB);
  auto request = [](Op op, const RawPeer& peer) {
    return tcp::Header{
        .op = op, .zone = 1, .count = 1, .sequence = 1, .token = peer.tokens()[1], .size_bytes = 8};
  };
  const std::vector<std::function<void(RawPeer&)>> rubbish{
      [&](RawPeer& peer) {  // a wrong token
        auto header = request(Op::kPut, peer);
        header.token ^= 1;
        peer.Send(header);
        peer.Send(RandomBytes(1, 8));
      },
      [&](RawPeer& peer) {  // another zone's token
        auto header = request(Op::kPut, peer);
        header.token = peer.tokens()[0];
        peer.Send(header);
        peer.Send(RandomBytes(1, 8));
      },
      [&](RawPeer& peer) {  // beyond what is allocated
        auto header = request(Op::kPut, peer);
        header.target = 4_MiB - 7;
        peer.Send(header);
        peer.Send(RandomBytes(1, 8));
      },
      [&](RawPeer& peer) {  // the same of a signal
        auto header = request(Op::kSignal, peer);
        header.target = 4_MiB - 7;
        peer.Send(header);
        peer.Send(RandomBytes(1, 8));
      },
      [&](RawPeer& peer) {  // so that offset and size wrap around
        auto header = request(Op::kGet, peer);
        header.target = ~std::uint64_t{0} - 3;
        peer.Send(header);
      },
      [&](RawPeer& peer) {  // one of a list beyond
        auto header = request(Op::kPut, peer);
        header.count = 2;
        header.size_bytes = 16;
        peer.Send(header);
        peer.Send(tcp::EncodeTable(std::vector<Piece>{{nullptr, 0, 8}, {nullptr, 4_MiB, 8}}));
        peer.Send(RandomBytes(1, 16));
      },
      [&](RawPeer& peer) {  // a list that doesn't add up
        auto header = request(Op::kPut, peer);
        header.count = 2;
        header.size_bytes = 17;
        peer.Send(header);
        peer.Send(tcp::EncodeTable(std::vector<Piece>{{nullptr, 0, 8}, {nullptr, 64, 8}}));
        peer.Send(RandomBytes(1, 17));
      },
      [&](RawPeer& peer) {  // a misaligned cell
        auto header = request(Op::kAtomic, peer);
        header.count = 0;
        header.target = 4;
        header.size_bytes = 16;
        peer.Send(header);
        peer.Send(RandomBytes(1, 16));
      },
      [&](RawPeer& peer) {  // the same request twice
        auto header = request(Op::kGet, peer);
        peer.Send(header);
        peer.Send(header);
      },
      [&](RawPeer& peer) {  // more at once than may be
        auto header = request(Op::kGet, peer);
        header.size_bytes = 4_MiB;
        for (std::size_t i = 0; i <= tcp::kMaxUnanswered + 8; ++i, ++header.sequence)
          peer.Send(header);
      },
      [&](RawPeer& peer) { peer.Send({.op = Op::kAck, .sequence = 1}); },
      [&](RawPeer& peer) {
        peer.Send({.op = Op::kData, .sequence = 1, .size_bytes = 8});
        peer.Send(RandomBytes(1, 8));
      },
      [&](RawPeer& peer) { peer.Send({.op = Op::kDone, .sequence = 1}); },
      [&](RawPeer& peer) { peer.Send(RandomBytes(3, 100'000)); },
      [&](RawPeer& peer) { peer.SendHello(3, Options(3)); },
      [&](RawPeer& peer) { peer.Send(tcp::EncodePreface({})); },
      [&](RawPeer& peer) {  // the zone that it contributes nothing to, of its own
        auto header = request(Op::kGet, peer);
        header.zone = 2;
        peer.Send(header);
      },
  };
  for (std::size_t i = 0; i < rubbish.size(); ++i) {
    auto peer = Linked();
    rubbish[i](*peer);
    EXPECT_TRUE(peer->IsClosed()) << i;
    auto end = me_->LinkEnd(3, 1);
    ASSERT_TRUE(end.has_value()) << i;
    EXPECT_TRUE(IsDisconnected(*end)) << *end;
    EXPECT_THAT(end->message(), HasSubstr("rank 3")) << i;
    EXPECT_EQ(Digest(me_->memory(kHost), 4_MiB), before) << i;
    OthersGoOn();
  }
}

TEST_F(TcpRubbish, EveryBrokenHeaderEndsTheLinkAndNothingElse) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    auto peer = Linked();
    std::mt19937 random(seed);
    auto bytes = tcp::EncodeHeader({.op = seed % 2 == 0 ? Op::kPut : Op::kGet,
                                    .zone = 1,
                                    .count = 1,
                                    .sequence = 1,
                                    .token = peer->tokens()[1],
                                    .size_bytes = 8});
    bytes[random() % bytes.size()] ^= static_cast<std::byte>(1 + random() % 255);
    peer->Send(bytes);
    peer->Send(RandomBytes(seed, 40 + seed));
    peer->StopSending();
    EXPECT_TRUE(peer->IsClosed()) << seed;
    ASSERT_TRUE(me_->LinkEnd(3, 1).has_value());
  }
}

TEST(TcpStrangers, TheSilentAreDropped) {
  MemberOptions options;
  options.transport = "tcp";
  options.max_bytes = options.allocated_bytes = {0, 2_MiB};
  options.stranger_limits.patience = std::chrono::milliseconds(50);
  auto me = Member::Open(options);
  ASSERT_TRUE(me.ok()) << me.status();
  RawPeer silent((*me)->address());
  RawPeer after_the_handshake((*me)->address());
  EXPECT_TRUE(after_the_handshake.ShakeHands());
  EXPECT_TRUE(silent.IsClosed());
  EXPECT_TRUE(after_the_handshake.IsClosed());
}

TEST(TcpStrangers, TheOldestGoesWhenThereAreTooMany) {
  MemberOptions options;
  options.transport = "tcp";
  options.max_bytes = options.allocated_bytes = {0, 2_MiB};
  options.stranger_limits.patience = std::chrono::hours(1);
  options.stranger_limits.count = 3;
  auto me = Member::Open(options);
  ASSERT_TRUE(me.ok()) << me.status();
  std::vector<std::unique_ptr<RawPeer>> silent;
  for (int i = 0; i < 5; ++i) silent.push_back(std::make_unique<RawPeer>((*me)->address()));
  EXPECT_TRUE(silent[0]->IsClosed());
  EXPECT_TRUE(silent[1]->IsClosed());
  EXPECT_TRUE(silent[4]->ShakeHands());
  EXPECT_TRUE(silent[2]->ShakeHands());
}

}  // namespace
}  // namespace memfabric::transport::test
