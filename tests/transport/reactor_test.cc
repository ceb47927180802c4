#include "transport/reactor.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <future>

namespace memfabric::transport {
namespace {

using namespace std::chrono_literals;

UniqueFd Event(unsigned value = 0) {
  return UniqueFd(::eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK));
}
void Signal(const UniqueFd& fd) {
  std::uint64_t one = 1;
  ASSERT_EQ(::write(fd.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
}
void Drain(int fd) {
  std::uint64_t value;
  ASSERT_EQ(::read(fd, &value, sizeof value), static_cast<ssize_t>(sizeof value));
}

class ReactorTest : public testing::Test {
 protected:
  void SetUp() override {
    auto reactor = Reactor::Create();
    ASSERT_TRUE(reactor.ok()) << reactor.status();
    reactor_ = *std::move(reactor);
  }
  // Once everything that was posted before has run.
  void Settle() {
    std::promise<void> ran;
    reactor_->Post([&] { ran.set_value(); });
    ran.get_future().wait();
  }
  std::unique_ptr<Reactor> reactor_;
};

TEST_F(ReactorTest, PostedWorkRunsInOrderOnItsThread) {
  std::vector<int> order;
  std::atomic<bool> elsewhere{false};
  for (int i = 0; i < 1000; ++i) {
    reactor_->Post([&, i] {
      order.push_back(i);
      if (!reactor_->OnThread()) elsewhere = true;
    });
  }
  Settle();
  ASSERT_EQ(order.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_FALSE(elsewhere);
  EXPECT_FALSE(reactor_->OnThread());
}

TEST_F(ReactorTest, WhatWasPostedBeforeTheEndRuns) {
  std::atomic<int> ran{0};
  for (int i = 0; i < 100; ++i) {
    reactor_->Post([&] {
      ++ran;
      reactor_->Post([&] { ++ran; });
    });
  }
  Settle();
  reactor_->Post([&] { ++ran; });
  reactor_.reset();
  EXPECT_EQ(ran, 201);
}

TEST_F(ReactorTest, AReadyFdCallsBackUntilItIsRemoved) {
  UniqueFd event = Event();
  std::promise<std::uint32_t> called;
  ASSERT_TRUE(reactor_
                  ->Add(event.get(), EPOLLIN,
                        [&](std::uint32_t events) {
                          Drain(event.get());
                          called.set_value(events);
                        })
                  .ok());
  Signal(event);
  EXPECT_EQ(called.get_future().get(), static_cast<std::uint32_t>(EPOLLIN));
  reactor_->Remove(event.get());
  Signal(event);
  Settle();  // a second call would set the promise twice, and end the test
  reactor_->Remove(event.get());
}

TEST_F(ReactorTest, AfterRemoveNoCallbackRuns) {
  for (int i = 0; i < 200; ++i) {
    UniqueFd event = Event(1);  // ready all the time
    auto alive = std::make_unique<std::atomic<int>>(0);
    std::promise<void> began;
    ASSERT_TRUE(reactor_
                    ->Add(event.get(), EPOLLIN,
                          [counter = alive.get(), &began](std::uint32_t) {
                            if (counter->fetch_add(1) == 0) began.set_value();
                          })
                    .ok());
    began.get_future().wait();
    reactor_->Remove(event.get());
    alive.reset();  // what the callback used: the sanitizers see a callback that comes later
  }
}

TEST_F(ReactorTest, ACallbackMayRemoveItselfAndOthers) {
  UniqueFd a = Event(1);
  UniqueFd b = Event(1);
  std::atomic<int> calls{0};
  std::promise<void> called;
  auto remove_both = [&](std::uint32_t) {
    ++calls;
    reactor_->Remove(a.get());
    reactor_->Remove(b.get());
    called.set_value();
  };
  std::promise<void> added;
  reactor_->Post([&] {  // both before the next look at epoll
    ASSERT_TRUE(reactor_->Add(a.get(), EPOLLIN, remove_both).ok());
    ASSERT_TRUE(reactor_->Add(b.get(), EPOLLIN, remove_both).ok());
    added.set_value();
  });
  added.get_future().wait();
  called.get_future().wait();
  Settle();
  Settle();
  EXPECT_EQ(calls, 1);
}

TEST_F(ReactorTest, TimersRunInOrderAndCancelledOnesDont) {
  std::vector<int> order;
  std::promise<void> last;
  auto now = std::chrono::steady_clock::now();
  reactor_->CallAt(now + 20ms, [&] {
    order.push_back(2);
    last.set_value();
  });
  auto cancelled = reactor_->CallAt(now + 10ms, [&] { order.push_back(9); });
  reactor_->CallAt(now + 1ms, [&] { order.push_back(1); });
  reactor_->CallAt(now + 1h, [&] { order.push_back(8); });
  reactor_->Cancel(cancelled);
  reactor_->Cancel(cancelled);
  last.get_future().wait();
  EXPECT_GE(std::chrono::steady_clock::now(), now + 20ms);
  reactor_.reset();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST_F(ReactorTest, ATimerThatIsLongDueRunsAtOnce) {
  std::promise<void> ran;
  reactor_->CallAt(std::chrono::steady_clock::now() - 1h, [&] { ran.set_value(); });
  EXPECT_EQ(ran.get_future().wait_for(10s), std::future_status::ready);
}

TEST_F(ReactorTest, SignalsAreLeftToTheProgramsThreads) {
  std::promise<bool> blocked;
  reactor_->Post([&] {
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked.set_value(::sigismember(&mask, SIGINT) == 1 && ::sigismember(&mask, SIGTERM) == 1);
  });
  EXPECT_TRUE(blocked.get_future().get());
  sigset_t own;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &own);
  EXPECT_EQ(::sigismember(&own, SIGINT), 0);
}

TEST_F(ReactorTest, AnFdThatCantBeWatchedIsAnError) {
  EXPECT_TRUE(IsIoError(reactor_->Add(-1, EPOLLIN, [](std::uint32_t) {})));
}

TEST_F(ReactorTest, CreateSaysWhenThereAreNoFds) {
  rlimit former{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &former), 0);
  rlimit none{0, former.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  auto reactor = Reactor::Create();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &former), 0);
  EXPECT_TRUE(IsOutOfMemory(reactor.status())) << reactor.status();
}

}  // namespace
}  // namespace memfabric::transport
