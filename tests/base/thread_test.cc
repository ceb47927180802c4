#include "base/thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <latch>
#include <vector>

#include "base/thread_limits.h"
#include "support/in_child.h"

namespace memfabric {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uid_t kNobodyElse = 65533;  // a user without another process

TEST(ThreadTest, HasItsNameTakesNoSignalsAndHasASmallStack) {
  char name[16] = "";
  sigset_t blocked;
  std::size_t stack_bytes = 0;
  auto thread = Thread::Start("mf-fifteen-byte", [&] {
    ::pthread_getname_np(::pthread_self(), name, sizeof name);
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    pthread_attr_t attributes;
    ::pthread_getattr_np(::pthread_self(), &attributes);
    ::pthread_attr_getstacksize(&attributes, &stack_bytes);
    ::pthread_attr_destroy(&attributes);
  });
  ASSERT_TRUE(thread.ok()) << thread.status();
  thread->Join();
  EXPECT_FALSE(thread->started());
  EXPECT_STREQ(name, "mf-fifteen-byte");
  for (int signal :
       {SIGINT, SIGTERM, SIGALRM, SIGPROF, SIGCHLD, SIGUSR1, SIGPIPE, SIGRTMIN, SIGRTMAX})
    EXPECT_EQ(::sigismember(&blocked, signal), 1) << ::strsignal(signal);
  for (int fault : {SIGSEGV, SIGBUS})
    EXPECT_EQ(::sigismember(&blocked, fault), 0) << "a crash would be reported by nobody";
  EXPECT_GE(stack_bytes, kThreadStackBytes);
  EXPECT_LT(stack_bytes, kThreadStackBytes + (1 << 20));
}

TEST(ThreadTest, TheCallersOwnMaskStaysAsItIs) {
  sigset_t before, after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  auto thread = Thread::Start("mf-test", [] {});
  ASSERT_TRUE(thread.ok()) << thread.status();
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal < SIGRTMAX; ++signal)
    EXPECT_EQ(::sigismember(&before, signal), ::sigismember(&after, signal)) << signal;
}

TEST(ThreadTest, KnowsItselfAndIsJoinedWhenItGoes) {
  std::promise<Thread*> told;
  bool itself = false;
  {
    Thread thread;
    EXPECT_FALSE(thread.IsCurrent());
    auto started = Thread::Start(
        "mf-test", [&, given = told.get_future().share()] { itself = given.get()->IsCurrent(); });
    ASSERT_TRUE(started.ok()) << started.status();
    thread = std::move(*started);
    EXPECT_FALSE(started->started());
    EXPECT_FALSE(thread.IsCurrent());
    told.set_value(&thread);
  }
  EXPECT_TRUE(itself);
}

// Not under sanitizers: their runtimes want threads and descriptors of their own.
TEST(ThreadLimitsTest, AThreadThatIsRefusedIsAnErrorThatNamesTheLimit) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be another user, whose threads are few";
  auto text = InChild([] {
    rlimit few{5, 5};
    if (::setrlimit(RLIMIT_NPROC, &few) != 0 || ::setuid(kNobodyElse) != 0)
      return std::string("can't be another user");
    std::latch end(1);
    std::vector<Thread> threads;
    for (rlim_t i = 0; i < few.rlim_cur + 1; ++i) {
      auto thread = Thread::Start("mf-test", [&end] { end.wait(); });
      if (thread.ok()) {
        threads.push_back(std::move(*thread));
        continue;
      }
      Status detached = Thread::StartDetached("mf-test", [] {});
      end.count_down();
      threads.clear();
      return detached.ok() ? "the second wasn't refused" : thread.status().ToString();
    }
    end.count_down();
    return std::string("nothing was refused");
  });
  EXPECT_THAT(
      text, AllOf(HasSubstr("OutOfMemory"), HasSubstr("mf-test"), HasSubstr("EAGAIN"),
                  HasSubstr("RLIMIT_NPROC is 5"), HasSubstr("uid 65533"), HasSubstr("ulimit -u")));
}

TEST(ThreadLimitsTest, NamesTheAddressSpace) {
  auto text = InChild([] {
    rlimit small{1 << 30, RLIM_INFINITY};
    ::setrlimit(RLIMIT_AS, &small);
    return ThreadLimitsText();
  });
  EXPECT_THAT(text, AllOf(HasSubstr("RLIMIT_AS is 1 GiB"), HasSubstr("ulimit -v"),
                          HasSubstr("kernel.threads-max")));
}

TEST(ThreadLimitsTextTest, NamesTheCgroupAndThoseAboveIt) {
  auto root = std::filesystem::temp_directory_path() /
              fmt::format("memfabric-thread-limits-{}", ::getpid());
  auto put = [&](const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  };
  put("proc/self/cgroup", "0::/a/b\n");
  put("sys/fs/cgroup/a/pids.max", "32\n");
  put("sys/fs/cgroup/a/pids.current", "30\n");
  put("sys/fs/cgroup/a/b/pids.max", "max\n");
  put("sys/fs/cgroup/a/b/pids.current", "2\n");
  auto text = ThreadLimitsText(root);
  std::filesystem::remove_all(root);
  EXPECT_THAT(text, HasSubstr("pids.max of cgroup /a is 32, of which 30 are used"));
  EXPECT_THAT(text, Not(HasSubstr("/a/b")));
}

}  // namespace
}  // namespace memfabric
