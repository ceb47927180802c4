// Memory that isn't there: of the peer's user (registered, or a file lent to the pool), and of the
// caller's own. Each is an error of that request alone; both processes live, and the link goes on
// in step.

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "contract/transport_fixture.h"

namespace memfabric::transport::test {
namespace {

using testing::HasSubstr;

enum class Fault { kUnmapped, kReadOnly, kTruncated, kHole };

std::string FaultName(Fault fault) {
  switch (fault) {
    case Fault::kUnmapped: return "Unmapped";
    case Fault::kReadOnly: return "ReadOnly";
    case Fault::kTruncated: return "Truncated";
    case Fault::kHole: return "Hole";
  }
  return "";
}

std::uint64_t PageUp(std::uint64_t size_bytes) { return (size_bytes + 4095) / 4096 * 4096; }

// Memory of a user, page-aligned, a mapping of a file of its own; and what becomes of it.
class UserMemory {
 public:
  explicit UserMemory(std::uint64_t size_bytes)
      : size_bytes_(PageUp(size_bytes)), file_(::memfd_create("a user's", MFD_CLOEXEC)) {
    EXPECT_EQ(::ftruncate(file_.get(), static_cast<off_t>(size_bytes_)), 0);
    void* address =
        ::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    EXPECT_NE(address, MAP_FAILED);
    data_ = static_cast<std::byte*>(address);
    FillPattern(data_, size_bytes_, 7);
  }
  ~UserMemory() {
    if (!unmapped_) ::munmap(data_, size_bytes_);
  }

  std::byte* data() const { return data_; }
  std::span<std::byte> bytes() const { return {data_, size_bytes_}; }

  // REQUIRES: nothing is mapped between an unmapping and the test's last look.
  void Spoil(Fault fault) {
    switch (fault) {
      case Fault::kUnmapped:
        EXPECT_EQ(::munmap(data_, size_bytes_), 0);
        unmapped_ = true;
        break;
      case Fault::kReadOnly: EXPECT_EQ(::mprotect(data_, size_bytes_, PROT_READ), 0); break;
      case Fault::kTruncated: EXPECT_EQ(::ftruncate(file_.get(), 0), 0); break;
      case Fault::kHole:
        EXPECT_EQ(::mprotect(data_ + size_bytes_ / 8192 * 4096, 4096, PROT_NONE), 0);
        break;
    }
  }

 private:
  const std::uint64_t size_bytes_;
  const UniqueFd file_;
  bool unmapped_ = false;
  std::byte* data_ = nullptr;
};

class TcpBadMemory : public TransportFixture, public testing::WithParamInterface<std::string> {
 protected:
  std::string transport() const override { return GetParam(); }
  PeerAs peer_as() const override { return PeerAs::kThread; }

  void SetUp() override {
    log::SetLevel(LogLevel::kWarn);
    log::SetSink([this](LogLevel, const std::string& line) {
      std::lock_guard lock(mutex_);
      lines_.push_back(line);
    });
  }
  void Link(int user_fd = -1) {
    MemberOptions options = Options(kPeer);
    options.user_fd = user_fd;
    me_ = OpenMember(Options(kMe));
    peer_ = OpenMember(options);
    ASSERT_OK(me_->port().Connect(peer_->address(), Soon()));
    link_ = me_->LinkTo(kPeer, 1);
    ASSERT_NE(link_, nullptr);
    FillPattern(peer_->memory(kDevice), 2_MiB, 5);
  }
  void TearDown() override {
    link_.reset();
    me_.reset();
    peer_.reset();
    log::SetSink({});
    log::SetLevel(LogLevel::kError);
  }
  Status Move(bool put, bool registered, std::byte* local, std::uint64_t remote,
              std::uint64_t size_bytes) {
    Piece piece{local, remote, size_bytes};
    const std::span<const Piece> one(&piece, 1);
    RETURN_IF_ERROR(
        registered ? (put ? link_->registered()->Put(one) : link_->registered()->Get(one))
                   : (put ? link_->zones()->Put(kHost, one) : link_->zones()->Get(kHost, one)));
    return link_->Flush(Soon());
  }
  // The same link, in step: both ways, and requests of all kinds.
  void LinkIsGood() {
    auto bytes = Pattern(++round_, 100'000);
    std::vector<std::byte> back(bytes.size());
    EXPECT_OK(PutNow(*link_, kDevice, bytes, 512));
    EXPECT_EQ(Digest(peer_->memory(kDevice) + 512, bytes.size()), Digest(bytes));
    EXPECT_OK(GetNow(*link_, kDevice, back, 512));
    EXPECT_EQ(back, bytes);
    EXPECT_OK(link_->signals()->Atomic(kDevice, {.operand = 1}, Soon()).status());
    auto other_way = peer_->LinkTo(kMe, 1);
    ASSERT_NE(other_way, nullptr);
    EXPECT_OK(PutNow(*other_way, kDevice, bytes, 0));
    EXPECT_EQ(Digest(me_->memory(kDevice), bytes.size()), Digest(bytes));
  }
  std::size_t Logged(std::string_view text) {
    std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(
        std::count_if(lines_.begin(), lines_.end(),
                      [&](const auto& line) { return line.find(text) != std::string::npos; }));
  }

  std::mutex mutex_;  // guards lines_
  std::vector<std::string> lines_;
  std::unique_ptr<Member> me_;
  std::unique_ptr<Member> peer_;
  std::shared_ptr<transport::Link> link_;
  unsigned round_ = 0;
};

constexpr std::uint64_t kSizes[] = {8, 5000, 100'000, 3 << 20, 20 << 20};

TEST_P(TcpBadMemory, OfThePeersUserIsAnErrorAndTheLinkGoesOn) {
  Link();
  for (Fault fault : {Fault::kUnmapped, Fault::kReadOnly, Fault::kTruncated, Fault::kHole}) {
    for (std::uint64_t size : kSizes) {
      if (fault == Fault::kHole && size < 10'000) continue;
      for (bool put : {true, false}) {
        if (fault == Fault::kReadOnly && !put) continue;
        SCOPED_TRACE(fmt::format("{} {} {}", FaultName(fault), size, put ? "put" : "get"));
        UserMemory theirs(size);
        peer_->registered().Register(theirs.bytes());
        auto mine = Pattern(3, size);
        theirs.Spoil(fault);
        Status status =
            Move(put, true, mine.data(), reinterpret_cast<std::uint64_t>(theirs.data()), size);
        EXPECT_TRUE(IsInvalidArgument(status)) << status;
        EXPECT_THAT(status.message(), HasSubstr(put ? "can't be written to" : "can't be read"));
        EXPECT_THAT(status.message(), HasSubstr("rank 1"));
        peer_->registered().Deregister(theirs.bytes());
        LinkIsGood();
      }
    }
  }
  // of the owner; more within ten seconds aren't told of
  EXPECT_EQ(Logged("a request of rank 0"), 1u);
}

TEST_P(TcpBadMemory, OfTheCallersOwnIsAnErrorAndTheLinkGoesOn) {
  Link();
  UserMemory theirs(20_MiB);
  peer_->registered().Register(theirs.bytes());
  for (Fault fault : {Fault::kUnmapped, Fault::kReadOnly, Fault::kTruncated, Fault::kHole}) {
    for (std::uint64_t size : kSizes) {
      if (fault == Fault::kHole && size < 10'000) continue;
      for (bool registered : {true, false}) {
        if (!registered && size > 4_MiB) continue;
        for (bool put : {true, false}) {
          if (fault == Fault::kReadOnly && put) continue;
          SCOPED_TRACE(
              fmt::format("{} {} {} {}", FaultName(fault), size, put ? "put" : "get", registered));
          UserMemory mine(size);
          mine.Spoil(fault);
          const std::uint64_t remote =
              registered ? reinterpret_cast<std::uint64_t>(theirs.data()) : 0;
          Status status = Move(put, registered, mine.data(), remote, size);
          EXPECT_TRUE(IsInvalidArgument(status)) << status;
          LinkIsGood();
        }
      }
    }
  }
  // An address where never anything was, between requests that are good.
  auto good = Pattern(4, 100);
  const Piece pieces[] = {{good.data(), 0, 100},
                          {reinterpret_cast<std::byte*>(4096), 200, 100}};  // NOLINT
  FillPattern(peer_->memory(kHost), 1000, 6);
  ASSERT_OK(link_->zones()->Put(kHost, {pieces, 1}));
  ASSERT_OK(link_->zones()->Put(kHost, {pieces + 1, 1}));
  Status status = link_->Flush(Soon());
  EXPECT_TRUE(IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("0x1000"));
  EXPECT_EQ(Digest(peer_->memory(kHost), 100), Digest(good));
  auto untouched = Pattern(6, 1000);
  EXPECT_EQ(Digest(peer_->memory(kHost) + 200, 100), Digest(untouched.data() + 200, 100));
  LinkIsGood();
}

TEST_P(TcpBadMemory, ThatGoesAwayInMidTransferIsAnErrorAndTheLinkGoesOn) {
  Link();
  constexpr std::uint64_t kSize = 8 << 20;
  UserMemory theirs(kSize);
  peer_->registered().Register(theirs.bytes());
  auto mine = Pattern(1, kSize);
  std::atomic<bool> over{false};
  std::thread spoiler([&] {
    for (std::uint64_t i = 0; !over; ++i) {
      std::byte* page = theirs.data() + i * 37 % (kSize / 4096) * 4096;
      ::mprotect(page, 4096, PROT_NONE);
      std::this_thread::yield();
      ::mprotect(page, 4096, PROT_READ | PROT_WRITE);
    }
  });
  int failed = 0;
  for (int i = 0; i < 60; ++i) {
    Status status =
        Move(i % 2 == 0, true, mine.data(), reinterpret_cast<std::uint64_t>(theirs.data()), kSize);
    EXPECT_TRUE(status.ok() || IsInvalidArgument(status)) << status;
    failed += status.ok() ? 0 : 1;
  }
  over = true;
  spoiler.join();
  EXPECT_GT(failed, 0);
  LinkIsGood();
  EXPECT_OK(Move(true, true, mine.data(), reinterpret_cast<std::uint64_t>(theirs.data()), kSize));
  EXPECT_EQ(Digest(theirs.data(), kSize), Digest(mine));
}

TEST_P(TcpBadMemory, InAFileThatTheUserLentAndTruncatedIsAnError) {
  const UniqueFd file(::memfd_create("a user's", MFD_CLOEXEC));  // can't be sealed
  ASSERT_EQ(::ftruncate(file.get(), 8_MiB), 0);
  Link(file.get());
  auto bytes = Pattern(2, 3_MiB);
  std::vector<std::byte> back(bytes.size());
  ASSERT_OK(PutNow(*link_, kHost, bytes, 0));
  ASSERT_OK(GetNow(*link_, kHost, back, 0));
  ASSERT_EQ(back, bytes);
  ASSERT_EQ(::ftruncate(file.get(), 1_MiB), 0);
  for (std::uint64_t size :
       {std::uint64_t{8}, std::uint64_t{5000}, std::uint64_t{100'000}, std::uint64_t{3_MiB}}) {
    for (bool put : {true, false}) {
      SCOPED_TRACE(fmt::format("{} {}", size, put ? "put" : "get"));
      Status status = Move(put, false, bytes.data(), size > 1_MiB ? 0 : 1_MiB, size);
      EXPECT_TRUE(IsInvalidArgument(status)) << status;
      EXPECT_THAT(status.message(), HasSubstr("shrunk"));
      LinkIsGood();
    }
  }
  auto former = link_->signals()->Atomic(kHost, {.slot_offset = 2_MiB, .operand = 1}, Soon());
  EXPECT_TRUE(IsInvalidArgument(former.status())) << former.status();
  ASSERT_OK(link_->signals()->Signal(kHost, 2_MiB, std::span(bytes).first(8), Soon()));
  LinkIsGood();
  ASSERT_OK(GetNow(*link_, kHost, back = std::vector<std::byte>(1_MiB), 0));
}

INSTANTIATE_TEST_SUITE_P(All, TcpBadMemory, testing::Values("tcp", "tcp+tls"),
                         [](const auto& info) { return TestName(info.param); });

}  // namespace
}  // namespace memfabric::transport::test
