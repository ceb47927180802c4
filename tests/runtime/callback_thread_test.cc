#include "runtime/callback_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"
#include "runtime/user_callback.h"

namespace memfabric {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A door that callbacks wait at; shared with those that are left behind.
struct Door {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int waiting = 0;
  std::vector<int> passed;

  void Pass(int number) {
    std::unique_lock lock(mutex);
    ++waiting;
    changed.notify_all();
    changed.wait(lock, [&] { return open; });
    passed.push_back(number);
    changed.notify_all();
  }
  void AwaitSomebody() {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return waiting > 0; }));
  }
  void Open() {
    std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  void AwaitPassed(std::size_t count) {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(
        changed.wait_for(lock, std::chrono::seconds(20), [&] { return passed.size() == count; }));
  }
};

class CallbackThreads : public ::testing::Test {
 protected:
  void SetUp() override {
    log::SetSink([this](LogLevel, const std::string& line) {
      std::lock_guard lock(mutex_);
      lines_.push_back(line);
    });
    former_ = log::Level();
    log::SetLevel(LogLevel::kWarn);
  }
  void TearDown() override {
    log::SetSink({});
    log::SetLevel(former_);
  }
  std::vector<std::string> Lines() {
    std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  LogLevel former_ = LogLevel::kError;
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

TEST_F(CallbackThreads, DropWhatDoesNotFitAndKeepTheOrderOfTheRest) {
  auto door = std::make_shared<Door>();
  {
    CallbackThread thread;
    thread.Submit([door] { door->Pass(0); });
    door->AwaitSomebody();
    for (int i = 1; i <= 5000; ++i) thread.Submit([door, i] { door->Pass(i); });
    EXPECT_THAT(Lines(), ElementsAre(HasSubstr("4096 events wait")));
    door->Open();
    door->AwaitPassed(1 + kMostEvents);
    thread.Submit([door] { door->Pass(-1); });
  }
  ASSERT_EQ(door->passed.size(), 2 + kMostEvents);
  for (std::size_t i = 0; i <= kMostEvents; ++i) EXPECT_EQ(door->passed[i], static_cast<int>(i));
  EXPECT_EQ(door->passed.back(), -1);
  EXPECT_THAT(Lines(),
              ElementsAre(HasSubstr("4096 events wait"), HasSubstr("904 events were dropped")));
}

TEST_F(CallbackThreads, AreNotKeptByACallbackThatDoesNotReturn) {
  auto door = std::make_shared<Door>();
  auto begin = steady_clock::now();
  {
    CallbackThread thread(milliseconds(100));
    thread.Submit([door] { door->Pass(0); });
    door->AwaitSomebody();
    thread.Submit([door] { door->Pass(1); });
  }
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(4));
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("1 events behind it are dropped")));
  door->Open();
  door->AwaitPassed(1);  // it goes on by itself, and nothing follows it
}

TEST_F(CallbackThreads, RunWhatIsQueuedBeforeTheyEnd) {
  auto door = std::make_shared<Door>();
  door->Open();
  {
    CallbackThread thread;
    for (int i = 0; i < 100; ++i) thread.Submit([door, i] { door->Pass(i); });
  }
  EXPECT_EQ(door->passed.size(), 100U);
  EXPECT_TRUE(Lines().empty());
}

TEST_F(CallbackThreads, CallAUsersFunctionUntilItIsReplaced) {
  auto door = std::make_shared<Door>();
  door->Open();
  CallbackThread thread;
  UserCallback<int> callback(thread);
  callback.Tell(1);  // nobody listens
  callback.Set([door](int number) { door->Pass(number); });
  callback.Tell(2);
  door->AwaitPassed(1);
  callback.Set(nullptr);
  callback.Tell(3);
  EXPECT_THAT(door->passed, ElementsAre(2));
}

}  // namespace
}  // namespace memfabric
