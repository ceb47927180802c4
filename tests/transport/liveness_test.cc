#include "transport/liveness.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/retry.h"
#include "transport/unix_socket.h"

namespace memfabric::transport {
namespace {

TEST(LivenessTest, IsAliveAsLongAsTheSocketLives) {
  auto reactor = Reactor::Create();
  ASSERT_TRUE(reactor.ok());
  auto liveness = LivenessSocket::Bind(**reactor);
  ASSERT_TRUE(liveness.ok()) << liveness.status();
  std::string name = (*liveness)->name();
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(IsAlive(name)) << i;
  liveness->reset();
  EXPECT_FALSE(IsAlive(name));
}

TEST(LivenessTest, NamesThatNobodyCanHaveAreDead) {
  EXPECT_FALSE(IsAlive(""));
  EXPECT_FALSE(IsAlive("memfabric-life-00000000000000000000000000000000"));
  EXPECT_FALSE(IsAlive(std::string(200, 'x')));
}

TEST(LivenessTest, AStoppedProcessIsAliveAndAKilledOneIsDead) {
  std::string name = "memfabric-life-test-" + RandomHex128();
  auto listener = ListenUnix(SOCK_STREAM, name, 8);
  ASSERT_TRUE(listener.ok()) << listener.status();
  pid_t child = ::fork();
  if (child == 0) {
    while (true) ::pause();  // holds the listening socket and does nothing
  }
  listener->Reset();
  ::kill(child, SIGSTOP);
  siginfo_t info;
  EXPECT_EQ(
      RetryOnSignal([&] { return ::waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED); }), 0);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(IsAlive(name)) << "more callers than its queue holds";
  ::kill(child, SIGKILL);
  RetryOnSignal([&] { return ::waitpid(child, nullptr, 0); });
  EXPECT_FALSE(IsAlive(name));
}

// Listens on `name` as another user, in a process that ends with the object.
class Squatter {
 public:
  Squatter(const std::string& name, uid_t user) {
    int ready[2];
    if (::pipe(ready) != 0) return;
    child_ = ::fork();
    if (child_ == 0) {
      char done = ::setuid(user) == 0 ? 'y' : 'n';
      auto listener = ListenUnix(SOCK_STREAM, name, 100);
      if (!listener.ok()) done = 'n';
      if (RetryOnSignal([&] { return ::write(ready[1], &done, 1); }) != 1) ::_exit(1);
      while (true) ::pause();
    }
    char done = 'n';
    listens_ = RetryOnSignal([&] { return ::read(ready[0], &done, 1); }) == 1 && done == 'y';
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Squatter() {
    ::kill(child_, SIGKILL);
    RetryOnSignal([&] { return ::waitpid(child_, nullptr, 0); });
  }
  bool listens() const { return listens_; }

 private:
  pid_t child_ = -1;
  bool listens_ = false;
};

constexpr uid_t kStranger = 65534;

TEST(LivenessTest, AnotherUserWhoTakesTheNameOfTheDeadDoesNotMakeItLive) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be other users";
  std::string name = "memfabric-life-1000-" + RandomHex128();
  Squatter squatter(name, kStranger);
  ASSERT_TRUE(squatter.listens());
  EXPECT_FALSE(IsAlive(name));
  ::setenv("MEMFABRIC_ALLOW_UIDS", "7,65534", 1);
  EXPECT_TRUE(IsAlive(name)) << "a user who may share in the job may serve";
  ::unsetenv("MEMFABRIC_ALLOW_UIDS");
}

TEST(LivenessTest, AnotherUsersOwnProcessIsAliveThoughItMayNotShareInOurs) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be other users";
  std::string name = "memfabric-life-65534-" + RandomHex128();
  Squatter owner(name, kStranger);
  ASSERT_TRUE(owner.listens());
  EXPECT_TRUE(IsAlive(name)) << "its rank is taken, by whomever";
}

TEST(LivenessTest, TheNameSaysWhoseItIs) {
  auto reactor = Reactor::Create();
  ASSERT_TRUE(reactor.ok());
  auto liveness = LivenessSocket::Bind(**reactor);
  ASSERT_TRUE(liveness.ok()) << liveness.status();
  EXPECT_TRUE((*liveness)->name().starts_with(fmt::format("memfabric-life-{}-", ::geteuid())));
}

}  // namespace
}  // namespace memfabric::transport
