// tests/store/client/test_store.h: a store of either kind for tests that have to hold for both, and
// what such tests wait with.

#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/wait.h"
#include "store/client/client.h"
#include "store/embedded/server.h"
#include "support/etcd_process.h"

namespace memfabric::store::test {

constexpr std::chrono::seconds kBound{30};  // what takes longer has failed
inline Deadline Soon() { return std::chrono::steady_clock::now() + kBound; }
inline Deadline In(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

inline const Status& StatusOf(const Status& status) { return status; }
template <typename T>
const Status& StatusOf(const Result<T>& result) {
  return result.status();
}
MATCHER(IsOk, "is Ok") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}
MATCHER_P(IsKind, kind, std::string(KindName(kind))) {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).kind() == kind;
}
#define ASSERT_OK(...) ASSERT_THAT((__VA_ARGS__), ::memfabric::store::test::IsOk())
#define EXPECT_OK(...) EXPECT_THAT((__VA_ARGS__), ::memfabric::store::test::IsOk())

enum class StoreKind { kEmbedded, kEtcd };

class TestStore {
 public:
  explicit TestStore(StoreKind kind) {
    if (kind == StoreKind::kEmbedded) {
      auto server =
          EmbeddedServer::Start({.listen = {.host = "127.0.0.1", .port = 0}, .seeds = {}});
      EXPECT_OK(server);
      if (server.ok()) embedded_ = std::move(*server);
    } else {
      auto process = EtcdProcess::Start();
      EXPECT_OK(process);
      if (process.ok()) etcd_ = std::move(*process);
    }
  }

  HostPort address() const {
    return embedded_ != nullptr ? embedded_->address() : etcd_->address();
  }
  EtcdProcess& etcd() { return *etcd_; }

 private:
  std::unique_ptr<EmbeddedServer> embedded_;
  std::unique_ptr<EtcdProcess> etcd_;
};

inline StoreUrl UrlOf(const HostPort& address) {
  return {.scheme = StoreUrl::Scheme::kTcp, .endpoints = {address}, .prefix = ""};
}

// Null, and the test has failed, when nothing answers.
inline std::unique_ptr<Client> ConnectTo(const HostPort& address) {
  auto client = Client::Connect(UrlOf(address), {}, Soon());
  EXPECT_OK(client);
  return client.ok() ? std::move(*client) : nullptr;
}

// Something that threads change and a test waits for.
template <typename T>
class Shared {
 public:
  void Change(const std::function<void(T&)>& change) {
    std::lock_guard lock(mutex_);
    change(value_);
    changed_.notify_all();
  }
  // False after kBound.
  bool Await(const std::function<bool(const T&)>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kBound, [&] { return condition(value_); });
  }
  T Copy() const {
    std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  T value_{};
};

// What a watch has told, in the order of the calls.
struct Told {
  std::vector<WatchEvent> events;  // since the last reset
  std::vector<Snapshot> resets;
  std::vector<bool> replaced;  // one for each reset
};

inline Client::WatchHandler TellTo(Shared<Told>& told) {
  return {.on_events =
              [&told](const auto& events) {
                told.Change([&](Told& all) {
                  all.events.insert(all.events.end(), events.begin(), events.end());
                });
              },
          .on_reset =
              [&told](const Snapshot& snapshot, bool replaced) {
                told.Change([&](Told& all) {
                  all.events.clear();
                  all.resets.push_back(snapshot);
                  all.replaced.push_back(replaced);
                });
              }};
}

inline std::string KindText(const testing::TestParamInfo<StoreKind>& info) {
  return info.param == StoreKind::kEmbedded ? "Embedded" : "Etcd";
}

}  // namespace memfabric::store::test
