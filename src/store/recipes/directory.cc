#include "store/recipes/directory.h"

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "base/wait.h"
#include "store/recipes/session.h"

namespace memfabric::store {
namespace {

// How long the owner of a record has to publish it again in a store that has replaced another.
constexpr std::chrono::milliseconds kRepublishTime = kSessionTimeToLive;

class WatchedDirectory final : public Directory {
 public:
  WatchedDirectory(Client& client, std::string_view prefix, Listener listener, Clock& clock)
      : listener_(std::move(listener)), clock_(clock) {
    watch_ =
        client.WatchPrefix(prefix, 0,
                           {.on_events = [this](const auto& events) { OnEvents(events); },
                            .on_reset = [this](const Snapshot& snapshot,
                                               bool replaced) { OnReset(snapshot, replaced); }});
  }

  ~WatchedDirectory() override {
    watch_.reset();
    Thread thread;
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      changed_.NotifyAll();
      while (delivering_) changed_.Wait(mutex_);
      thread = std::move(thread_);
    }
    thread.Join();
  }

  Status AwaitFirst(Deadline deadline) {
    MutexLock lock(mutex_);
    return WaitUntil(mutex_, changed_, deadline,
                     [&]() REQUIRES(mutex_) { return informed_ && news_.empty() && !delivering_; });
  }

 private:
  struct News {
    bool removed;
    KeyValue entry;
  };

  void OnEvents(const std::vector<WatchEvent>& events) {
    MutexLock lock(mutex_);
    for (const auto& event : events) {
      if (event.type == WatchEvent::Type::kPut) {
        Put(event.entry);
      } else {
        Remove(event.entry.key);
      }
    }
    Deliver();
  }

  void OnReset(const Snapshot& snapshot, bool replaced) {
    MutexLock lock(mutex_);
    std::set<std::string> standing;
    for (const auto& entry : snapshot.entries) {
      standing.insert(entry.key);
      Put(entry);
    }
    std::vector<std::string> missing;
    for (const auto& [key, entry] : entries_)
      if (!standing.contains(key)) missing.push_back(key);
    for (const auto& key : missing) {
      if (replaced) {
        missing_until_[key] = clock_.Now() + kRepublishTime;
      } else if (!missing_until_.contains(key)) {
        Remove(key);
      }
    }
    if (!missing_until_.empty() && !thread_.started()) StartThread();
    informed_ = true;
    changed_.NotifyAll();
    Deliver();
  }

  void StartThread() REQUIRES(mutex_) {
    auto thread = Thread::Start("mf-directory", [this] { DropTheMissing(); });
    if (thread.ok()) {
      thread_ = std::move(*thread);
      return;
    }
    // Nobody would ever report them as gone: they are gone now, and new once they have been
    // published again.
    LOG(kWarn, "{} records that the store has lost are taken for gone at once: {}",
        missing_until_.size(), thread.status().message());
    while (!missing_until_.empty()) Remove(std::string(missing_until_.begin()->first));
  }

  void Put(const KeyValue& entry) REQUIRES(mutex_) {
    missing_until_.erase(entry.key);
    auto [known, is_new] = entries_.try_emplace(entry.key, entry);
    bool changed = is_new || known->second.value != entry.value;
    known->second = entry;
    if (changed) news_.push_back({.removed = false, .entry = entry});
  }

  void Remove(const std::string& key) REQUIRES(mutex_) {
    missing_until_.erase(key);
    auto known = entries_.find(key);
    if (known == entries_.end()) return;
    news_.push_back({.removed = true, .entry = std::move(known->second)});
    entries_.erase(known);
  }

  // Tells the listener what is new, unless another thread is at it, which then tells this as well.
  // Gives the mutex up meanwhile.
  void Deliver() REQUIRES(mutex_) {
    if (delivering_) return;
    delivering_ = true;
    while (!news_.empty() && !stopping_) {
      News news = std::move(news_.front());
      news_.pop_front();
      mutex_.Unlock();
      (news.removed ? listener_.on_removed : listener_.on_put)(news.entry);
      mutex_.Lock();
    }
    delivering_ = false;
    changed_.NotifyAll();
  }

  // The thread: reports entries as gone that nobody has published again in time.
  void DropTheMissing() {
    MutexLock lock(mutex_);
    while (!stopping_) {
      TimePoint now = clock_.Now();
      TimePoint next = TimePoint::max();
      std::vector<std::string> gone;
      for (const auto& [key, until] : missing_until_) {
        if (until <= now) {
          gone.push_back(key);
        } else {
          next = std::min(next, until);
        }
      }
      for (const auto& key : gone) Remove(key);
      if (!gone.empty()) {
        Deliver();
      } else if (next == TimePoint::max()) {
        changed_.Wait(mutex_);
      } else {
        clock_.WaitUntil(mutex_, changed_, next);
      }
    }
  }

  const Listener listener_;
  Clock& clock_;

  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, KeyValue> entries_ GUARDED_BY(mutex_);
  // of entries_: not in the store that answers now, and how long that may last
  std::map<std::string, TimePoint> missing_until_ GUARDED_BY(mutex_);
  std::deque<News> news_ GUARDED_BY(mutex_);  // not told yet
  bool informed_ GUARDED_BY(mutex_) = false;  // the first snapshot has come
  bool delivering_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  Thread thread_ GUARDED_BY(mutex_);  // started when first something is missing

  std::unique_ptr<Watch> watch_;
};

}  // namespace

Result<std::unique_ptr<Directory>> Directory::Follow(Client& client, std::string_view prefix,
                                                     Listener listener, Clock& clock,
                                                     Deadline deadline) {
  auto directory = std::make_unique<WatchedDirectory>(client, prefix, std::move(listener), clock);
  RETURN_IF_ERROR(directory->AwaitFirst(deadline).WithContext(
      fmt::format("reading what stands below {}", prefix)));
  return std::unique_ptr<Directory>(std::move(directory));
}

}  // namespace memfabric::store
