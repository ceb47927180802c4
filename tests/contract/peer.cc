#include "contract/peer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>

#include "base/fd.h"
#include "base/retry.h"
#include "support/poll_for.h"

namespace memfabric::transport::test {
namespace {

constexpr std::chrono::seconds kAnswerTimeout{60};

class ThreadPeer final : public Peer {
 public:
  void Kill() override { FAIL() << "a thread can't be killed"; }
  void Stop() override { FAIL() << "a thread can't be stopped"; }
  void Continue() override { FAIL() << "a thread can't be continued"; }

 protected:
  std::string Exchange(const std::string& order) override { return program_.Obey(order); }

 private:
  PeerProgram program_;
};

class ProcessPeer final : public Peer {
 public:
  ProcessPeer() {
    int orders[2];
    int answers[2];
    EXPECT_EQ(::pipe2(orders, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(answers, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, orders[0], 0);
    posix_spawn_file_actions_adddup2(&actions, answers[1], 1);
    char program[] = MEMFABRIC_TRANSPORT_PEER;
    char* arguments[] = {program, nullptr};
    EXPECT_EQ(::posix_spawn(&process_, program, &actions, nullptr, arguments, environ), 0)
        << program;
    posix_spawn_file_actions_destroy(&actions);
    ::close(orders[0]);
    ::close(answers[1]);
    orders_ = UniqueFd(orders[1]);
    answers_ = UniqueFd(answers[0]);
  }
  ~ProcessPeer() override { Kill(); }

  void Kill() override {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    RetryOnSignal([&] { return ::waitpid(process_, nullptr, 0); });
    process_ = 0;
  }
  void Stop() override {
    ::kill(process_, SIGSTOP);
    siginfo_t info;
    EXPECT_EQ(RetryOnSignal(
                  [&] { return ::waitid(P_PID, static_cast<id_t>(process_), &info, WSTOPPED); }),
              0);  // returns once it stands still
  }
  void Continue() override { ::kill(process_, SIGCONT); }

 protected:
  std::string Exchange(const std::string& order) override {
    std::string line = order + "\n";
    if (RetryOnSignal([&] { return ::write(orders_.get(), line.data(), line.size()); }) !=
        static_cast<ssize_t>(line.size()))
      return "9 the peer is gone";
    while (true) {
      if (std::size_t end = received_.find('\n'); end != std::string::npos) {
        std::string answer = received_.substr(0, end);
        received_.erase(0, end + 1);
        return answer;
      }
      pollfd ready{answers_.get(), POLLIN, 0};
      if (PollFor({&ready, 1}, kAnswerTimeout) <= 0) return "9 the peer process doesn't answer";
      char buffer[4096];
      ssize_t got = RetryOnSignal([&] { return ::read(answers_.get(), buffer, sizeof buffer); });
      if (got <= 0) return "9 the peer process has ended";
      received_.append(buffer, static_cast<std::size_t>(got));
    }
  }

 private:
  pid_t process_ = 0;
  UniqueFd orders_;
  UniqueFd answers_;
  std::string received_;
};

std::string Answer(const Status& status, const std::string& more = "") {
  return fmt::format("{} {}", static_cast<int>(status.kind()),
                     status.ok() ? more : status.message());
}

}  // namespace

std::byte PatternAt(unsigned seed, std::uint64_t place) {
  std::uint64_t x = (place / 8 + 1) * 0x9e37'79b9'7f4a'7c15 ^ (seed * 0xbf58'476d'1ce4'e5b9ULL);
  x ^= x >> 29;
  return static_cast<std::byte>(x >> (8 * (place % 8)));
}

void FillPattern(std::byte* bytes, std::uint64_t size_bytes, unsigned seed) {
  for (std::uint64_t i = 0; i < size_bytes; ++i) bytes[i] = PatternAt(seed, i);
}

std::uint64_t Digest(const std::byte* bytes, std::uint64_t size_bytes) {
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (std::uint64_t i = 0; i < size_bytes; ++i)
    hash = (hash ^ static_cast<std::uint64_t>(bytes[i])) * 0x100'0000'01b3;
  return hash;
}

std::string PeerProgram::Obey(const std::string& order) {
  std::istringstream in(order);
  std::string verb;
  in >> verb;
  if (verb == "open") {
    MemberOptions options;
    in >> options.transport >> options.pool >> options.rank >> options.epoch >> options.world_size;
    for (auto& bytes : options.max_bytes) in >> bytes;
    for (auto& bytes : options.allocated_bytes) in >> bytes;
    auto member = Member::Open(options);
    if (!member.ok()) return Answer(member.status());
    member_ = *std::move(member);
    return Answer(Ok(), fmt::format("{} {}", member_->address().pid, member_->address().advert));
  }
  if (member_ == nullptr) return Answer(Internal("no member is open"));
  std::uint64_t zone = 0, offset = 0, size = 0;
  if (verb == "connect") {
    MemberAddress to;
    to.host = "here";
    in >> to.pool >> to.rank >> to.epoch >> to.pid >> std::ws;
    std::getline(in, to.advert);
    return Answer(member_->port().Connect(to, Soon()));
  }
  if (verb == "linked") {
    in >> offset >> size;
    return Answer(
        member_->LinkTo(static_cast<Rank>(offset), size) != nullptr ? Ok() : NotFound("no link"));
  }
  if (verb == "fill") {
    unsigned seed = 0;
    in >> zone >> offset >> size >> seed;
    FillPattern(member_->memory(kAllZones[zone]) + offset, size, seed);
    return Answer(Ok());
  }
  if (verb == "digest") {
    in >> zone >> offset >> size;
    return Answer(Ok(), fmt::format("{}", Digest(member_->memory(kAllZones[zone]) + offset, size)));
  }
  if (verb == "register") {
    unsigned seed = 0;
    in >> size >> seed;
    buffer_.resize(size);
    FillPattern(buffer_.data(), size, seed);
    member_->registered().Register(buffer_);
    return Answer(Ok(), fmt::format("{}", reinterpret_cast<std::uint64_t>(buffer_.data())));
  }
  if (verb == "deregister") {
    unsigned seed = 0;
    in >> seed;
    member_->registered().Deregister(buffer_);
    FillPattern(buffer_.data(), buffer_.size(), seed);
    return Answer(Ok());
  }
  if (verb == "digest_buffer") {
    in >> offset >> size;
    return Answer(Ok(), fmt::format("{}", Digest(buffer_.data() + offset, size)));
  }
  if (verb == "grow") {
    in >> zone >> size;
    return Answer(member_->Grow(kAllZones[zone], size));
  }
  if (verb == "leave") {
    member_->Leave();
    return Answer(Ok());
  }
  if (verb == "hold_arrivals") {
    member_->HoldArrivals();
    return Answer(Ok());
  }
  if (verb == "wait_for_arrival")
    return Answer(member_->WaitForArrival() ? Ok() : NotFound("nobody arrived"));
  if (verb == "admit") {
    member_->Admit();
    return Answer(Ok());
  }
  if (verb == "hold_answers") {
    member_->faults().HoldAnswers();
    return Answer(Ok());
  }
  if (verb == "release_answers") {
    member_->faults().ReleaseAnswers();
    return Answer(Ok());
  }
  if (verb == "refuse_links") {
    member_->faults().refuse_links = true;
    return Answer(Ok());
  }
  if (verb == "die_after") {
    in >> size;
    member_->faults().die_after_bytes = size;
    return Answer(Ok());
  }
  if (verb == "check_promises") {
    std::string violations = member_->violations();
    return Answer(violations.empty() ? Ok() : Internal("{}", violations));
  }
  return Answer(InvalidArgument("unknown order {}", verb));
}

std::unique_ptr<Peer> Peer::Start(PeerAs as, const MemberOptions& options) {
  std::unique_ptr<Peer> peer;
  if (as == PeerAs::kThread) {
    peer = std::make_unique<ThreadPeer>();
  } else {
    peer = std::make_unique<ProcessPeer>();
  }
  std::string answer;
  Status opened = peer->Order(
      fmt::format("open {} {} {} {} {} {} {} {} {}", options.transport, options.pool, options.rank,
                  options.epoch, options.world_size, options.max_bytes[0], options.max_bytes[1],
                  options.allocated_bytes[0], options.allocated_bytes[1]),
      &answer);
  EXPECT_TRUE(opened.ok()) << opened;
  std::istringstream in(answer);
  MemberAddress& address = peer->address_;
  address = {options.pool, options.rank, options.epoch, "here", 0, ""};
  in >> address.pid >> std::ws;
  std::getline(in, address.advert);
  return peer;
}

Status Peer::Order(const std::string& order, std::string* answer) {
  std::string text = Exchange(order);
  std::size_t space = text.find(' ');
  auto kind = static_cast<Kind>(std::stoi(text.substr(0, space)));
  std::string rest = space == std::string::npos ? "" : text.substr(space + 1);
  if (kind != Kind::kOk) return Status(kind, rest);
  if (answer != nullptr) *answer = rest;
  return Ok();
}

Status Peer::Connect(const MemberAddress& to) {
  return Order(
      fmt::format("connect {} {} {} {} {}", to.pool, to.rank, to.epoch, to.pid, to.advert));
}

bool Peer::LinkedTo(Rank rank, std::uint64_t epoch) {
  return Order(fmt::format("linked {} {}", rank, epoch)).ok();
}

Status Peer::Fill(Zone zone, std::uint64_t offset, std::uint64_t size_bytes, unsigned seed) {
  return Order(fmt::format("fill {} {} {} {}", Index(zone), offset, size_bytes, seed));
}

std::uint64_t Peer::DigestOf(Zone zone, std::uint64_t offset, std::uint64_t size_bytes) {
  std::string answer;
  Status status = Order(fmt::format("digest {} {} {}", Index(zone), offset, size_bytes), &answer);
  EXPECT_TRUE(status.ok()) << status;
  return answer.empty() ? 0 : std::stoull(answer);
}

std::uint64_t Peer::RegisterBuffer(std::uint64_t size_bytes, unsigned seed) {
  std::string answer;
  Status status = Order(fmt::format("register {} {}", size_bytes, seed), &answer);
  EXPECT_TRUE(status.ok()) << status;
  return answer.empty() ? 0 : std::stoull(answer);
}

std::uint64_t Peer::DigestOfBuffer(std::uint64_t offset, std::uint64_t size_bytes) {
  std::string answer;
  Status status = Order(fmt::format("digest_buffer {} {}", offset, size_bytes), &answer);
  EXPECT_TRUE(status.ok()) << status;
  return answer.empty() ? 0 : std::stoull(answer);
}

Status Peer::Grow(Zone zone, std::uint64_t bytes) {
  return Order(fmt::format("grow {} {}", Index(zone), bytes));
}

}  // namespace memfabric::transport::test
