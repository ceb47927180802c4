#include "transport/liveness.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/local_socket.h"

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
  auto listener = ListenLocal(SOCK_STREAM, name, 8);
  ASSERT_TRUE(listener.ok()) << listener.status();
  pid_t child = ::fork();
  if (child == 0) {
    while (true) ::pause();  // holds the listening socket and does nothing
  }
  listener->Reset();
  ::kill(child, SIGSTOP);
  siginfo_t info;
  EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED), 0);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(IsAlive(name)) << "more callers than its queue holds";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(IsAlive(name));
}

}  // namespace
}  // namespace memfabric::transport
