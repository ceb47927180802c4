// Garbage, liars and the silent at a port's socket: each is let go, none disturbs the members.

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <random>

#include "base/retry.h"
#include "contract/transport_fixture.h"
#include "support/poll_for.h"
#include "transport/meeting/peer_protocol.h"
#include "transport/unix_socket.h"

namespace memfabric::transport::test {
namespace {

using meeting::EncodeMessage;
using testing::HasSubstr;

class StrangersTest : public testing::Test {
 protected:
  void SetUp() override {
    auto member = Member::Open(Options(0));
    ASSERT_THAT(member.status(), IsOk());
    member_ = *std::move(member);
    advert_ = *meeting::ParseAdvert(member_->address().advert);
  }
  void TearDown() override {
    // A real peer is served as ever.
    auto peer = Member::Open(Options(1));
    ASSERT_THAT(peer.status(), IsOk());
    EXPECT_OK((*peer)->port().Connect(member_->address(), Soon()));
    EXPECT_EQ(member_->links_up(), 1u);
    EXPECT_EQ(member_->violations(), "");
  }

  static MemberOptions Options(Rank rank) {
    MemberOptions options;
    options.rank = rank;
    options.max_bytes = {0, 2_MiB};
    options.allocated_bytes = {0, 2_MiB};
    options.stranger_limits = {.patience = std::chrono::milliseconds(100), .count = 4};
    return options;
  }
  UniqueFd Call() const {
    auto socket = ConnectUnix(SOCK_SEQPACKET, advert_.socket);
    EXPECT_TRUE(socket.ok()) << socket.status();
    return *std::move(socket);
  }
  meeting::Hello TrueHello() const {
    meeting::Hello hello;
    hello.key = advert_.key;
    hello.pool = "job/7";
    hello.from = 2;
    hello.to = 0;
    hello.from_epoch = 1;
    hello.to_epoch = 1;
    hello.world_size = 4;
    hello.max_bytes = {0, 2_MiB};
    return hello;
  }
  // What the port says, or nothing when it closes; a test that gets neither fails.
  static std::optional<meeting::Message> AnswerTo(const UniqueFd& socket) {
    pollfd ready{socket.get(), POLLIN, 0};
    EXPECT_EQ(PollFor({&ready, 1}, std::chrono::seconds(30)), 1) << "neither an answer nor an end";
    static std::array<std::byte, meeting::kMaxMessageBytes> buffer;
    Packet packet = ReceivePacket(socket.get(), buffer);
    if (packet.state != Packet::State::kMessage) return std::nullopt;
    auto message = meeting::ParseMessage(std::span(buffer).first(packet.size_bytes));
    EXPECT_TRUE(message.ok()) << message.status();
    return message.ok() ? std::optional(*message) : std::nullopt;
  }
  static std::string RefusalOf(const UniqueFd& socket) {
    auto answer = AnswerTo(socket);
    auto* refused = answer.has_value() ? std::get_if<meeting::Refused>(&*answer) : nullptr;
    return refused == nullptr ? "(no refusal)" : refused->reason;
  }
  static UniqueFd MemoryFile(bool sealed) {
    UniqueFd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(::ftruncate(file.get(), 2_MiB), 0);
    EXPECT_EQ(::fcntl(file.get(), F_ADD_SEALS, sealed ? F_SEAL_SHRINK | F_SEAL_GROW : 0), 0);
    return file;
  }

  std::unique_ptr<Member> member_;
  meeting::Advert advert_;
};

TEST_F(StrangersTest, RandomBytesAreShownTheDoor) {
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    std::vector<std::byte> bytes(1 + random() % 600);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    UniqueFd socket = Call();
    ASSERT_OK(SendPacket(socket.get(), bytes, {}));
    EXPECT_FALSE(AnswerTo(socket).has_value());
  }
}

TEST_F(StrangersTest, TruncatedOversizedAndEmptyMessagesToo) {
  auto hello = EncodeMessage(TrueHello());
  for (std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{8}, hello.size() - 1}) {
    UniqueFd socket = Call();
    ASSERT_OK(SendPacket(socket.get(), std::span(hello).first(size), {}));
    EXPECT_FALSE(AnswerTo(socket).has_value()) << size;
  }
  for (std::size_t size : {hello.size() + 1, meeting::kMaxMessageBytes + 1, std::size_t{100'000}}) {
    auto longer = hello;
    longer.resize(size);
    UniqueFd socket = Call();
    ASSERT_OK(SendPacket(socket.get(), longer, {}));
    EXPECT_FALSE(AnswerTo(socket).has_value()) << size;
  }
}

TEST_F(StrangersTest, MessagesOutOfOrderEndTheConnection) {
  std::vector<meeting::Message> early{meeting::Ready{},     meeting::Welcome{}, meeting::Grow{},
                                      meeting::Grown{},     meeting::Bye{},     meeting::Data{},
                                      meeting::Duplicate{}, meeting::Refused{}};
  for (const meeting::Message& message : early) {
    UniqueFd socket = Call();
    ASSERT_OK(SendPacket(socket.get(), EncodeMessage(message), {}));
    EXPECT_FALSE(AnswerTo(socket).has_value()) << meeting::MessageName(message);
  }
  std::uint64_t epoch = 1;
  for (const meeting::Message& message :
       std::vector<meeting::Message>{TrueHello(), meeting::Welcome{}, meeting::Duplicate{}}) {
    UniqueFd socket = Call();
    meeting::Hello hello = TrueHello();
    hello.from_epoch = epoch++;
    ASSERT_OK(SendPacket(socket.get(), EncodeMessage(hello), {}));
    ASSERT_TRUE(std::holds_alternative<meeting::Welcome>(*AnswerTo(socket)));
    ASSERT_OK(SendPacket(socket.get(), EncodeMessage(message), {}));
    EXPECT_FALSE(AnswerTo(socket).has_value());
    auto end = member_->LinkEnd(2, hello.from_epoch);
    ASSERT_TRUE(end.has_value());
    EXPECT_TRUE(IsDisconnected(*end));
    EXPECT_THAT(end->message(), HasSubstr("protocol"));
  }
}

TEST_F(StrangersTest, AnotherVersionHearsOurs) {
  auto bytes = EncodeMessage(TrueHello());
  bytes[4] = std::byte{9};
  UniqueFd socket = Call();
  ASSERT_OK(SendPacket(socket.get(), bytes, {}));
  EXPECT_THAT(RefusalOf(socket),
              HasSubstr(fmt::format("version 9, not {}", meeting::kProtocolVersion)));
}

TEST_F(StrangersTest, WhoHasNotReadTheDirectoryIsRefused) {
  meeting::Hello hello = TrueHello();
  hello.key[3] ^= std::byte{1};
  UniqueFd socket = Call();
  ASSERT_OK(SendPacket(socket.get(), EncodeMessage(hello), {}));
  EXPECT_THAT(RefusalOf(socket), HasSubstr("key"));
}

TEST_F(StrangersTest, FilesThatDontFitTheMessageAreRefusedAndClosed) {
  auto open_files = [] {
    int count = 0;
    DIR* dir = ::opendir("/proc/self/fd");
    while (::readdir(dir) != nullptr) ++count;
    ::closedir(dir);
    return count;
  };
  UniqueFd sealed = MemoryFile(true);
  UniqueFd unsealed = MemoryFile(false);
  auto attempt = [&](const meeting::Contribution& contribution, std::vector<int> files) {
    meeting::Hello hello = TrueHello();
    hello.contribution = contribution;
    UniqueFd socket = Call();
    EXPECT_OK(SendPacket(socket.get(), EncodeMessage(hello), files));
    std::string refusal = RefusalOf(socket);
    EXPECT_FALSE(AnswerTo(socket).has_value()) << "the connection goes on";
    return refusal;
  };
  int before = open_files();
  const meeting::Contribution one{{0, 2_MiB}, {false, true}, {}};
  EXPECT_THAT(attempt(one, {}), HasSubstr("fewer files"));
  EXPECT_THAT(attempt(one, {sealed.get(), sealed.get()}), HasSubstr("more files"));
  EXPECT_THAT(attempt({}, {sealed.get()}), HasSubstr("more files"));
  EXPECT_THAT(attempt({{0, 2_MiB}, {}, {}}, {}), HasSubstr("without a file"));
  EXPECT_THAT(attempt(one, {unsealed.get()}), HasSubstr("sealed"));
  EXPECT_THAT(attempt(one, {STDERR_FILENO}), HasSubstr("file"));
  EXPECT_EQ(open_files(), before);
  EXPECT_EQ(member_->links_up(), 0u);
}

TEST_F(StrangersTest, MoreFilesThanAnyMessageHasAreClosed) {
  auto bytes = EncodeMessage(TrueHello());
  UniqueFd file = MemoryFile(true);
  UniqueFd socket = Call();
  // By hand: SendPacket wouldn't.
  std::vector<int> files(100, file.get());
  std::vector<char> control(CMSG_SPACE(files.size() * sizeof(int)));
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
  std::memcpy(CMSG_DATA(header), files.data(), files.size() * sizeof(int));
  ASSERT_GT(RetryOnSignal([&] { return ::sendmsg(socket.get(), &message, 0); }), 0);
  EXPECT_THAT(RefusalOf(socket), HasSubstr("not received whole"));
}

TEST_F(StrangersTest, GrowthByAnotherFileEndsTheLink) {
  UniqueFd first = MemoryFile(true);
  UniqueFd second = MemoryFile(true);
  const meeting::Contribution one{{0, 2_MiB}, {false, true}, {}};
  meeting::Hello hello = TrueHello();
  hello.contribution = one;
  UniqueFd socket = Call();
  const int first_file = first.get();
  const int second_file = second.get();
  ASSERT_OK(SendPacket(socket.get(), EncodeMessage(hello), {&first_file, 1}));
  ASSERT_TRUE(std::holds_alternative<meeting::Welcome>(*AnswerTo(socket)));
  ASSERT_OK(SendPacket(socket.get(), EncodeMessage(meeting::Ready{}), {}));
  ASSERT_OK(SendPacket(socket.get(), EncodeMessage(meeting::Grow{one}), {&second_file, 1}));
  EXPECT_THAT(RefusalOf(socket), HasSubstr("another file"));
}

TEST_F(StrangersTest, TheSilentAreLetGoAndAreFew) {
  UniqueFd socket = Call();
  EXPECT_FALSE(AnswerTo(socket).has_value()) << "patience has no end";
  std::vector<UniqueFd> crowd;
  for (int i = 0; i < 20; ++i) crowd.push_back(Call());
  for (const UniqueFd& silent : crowd) EXPECT_FALSE(AnswerTo(silent).has_value());
}

}  // namespace
}  // namespace memfabric::transport::test
