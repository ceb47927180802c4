// store/embedded/watch_hub.h: who watches what, and what each has still to be told; no gRPC.
//
// A watch queues nothing: it remembers the revision from which it has to be told, and is served
// from the Mvcc's history when its client takes the next message. So a client that reads slowly
// costs nothing and delays nobody; one that falls behind the history is told so (compact_revision)
// and loses the watch.
//
// A commit finds the watches that it concerns by key, by prefix, and, for ranges that are no
// prefix, one by one; watches of the same range are found together.
//
// Owner: State. Threads: one at a time.

#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "store/embedded/key_range.h"
#include "store/embedded/mvcc.h"
#include "store/proto/rpc.pb.h"

namespace memfabric::store {

class WatchHub;

// The watches of one stream. Whoever takes its messages holds it between TakeReady() and the Next()
// that says false.
class WatchSession {
 public:
  // What the stream's owner is told; see WatchHub::TakeReady.
  class Reader {
   public:
    virtual ~Reader() = default;
    virtual void OnReady() = 0;
  };

  static constexpr std::size_t kMostUnsent = 64;  // answers to requests that wait to be taken

  WatchSession(WatchHub& hub, Reader& reader) : hub_(hub), reader_(reader) {}
  ~WatchSession();
  WatchSession(const WatchSession&) = delete;
  WatchSession& operator=(const WatchSession&) = delete;

  void Handle(const etcdserverpb::WatchRequest& request);
  void Close();  // ends all watches and forgets what wasn't taken
  // The reader should take what is there before it handles more requests.
  bool IsFull() const { return unsent_.size() >= kMostUnsent; }

  // The next message. False: there is none now; the session is ready again when there is one.
  bool Next(etcdserverpb::WatchResponse* response);
  bool taken() const { return taken_; }  // by TakeReady(); Next() hasn't said false yet

 private:
  friend class WatchHub;
  struct Watch {
    WatchSession* session;
    std::int64_t id;
    std::string begin, end;
    std::int64_t first_revision;  // changes before it are none of its business
    // it has to be told of changes from this revision on; 0: it knows all
    std::int64_t behind_from = 0;
    bool puts, deletes, previous, progress;
    std::size_t slot = 0;  // where the hub's group lists it
  };

  void Create(const etcdserverpb::WatchCreateRequest& request);
  void Cancel(std::int64_t id);
  void MarkBehind(Watch& watch, std::int64_t revision);
  bool FillEvents(Watch& watch, etcdserverpb::WatchResponse* response);
  etcdserverpb::WatchResponse& AddUnsent(std::int64_t id);
  void Remove(std::map<std::int64_t, std::unique_ptr<Watch>>::iterator watch);

  WatchHub& hub_;
  Reader& reader_;
  std::map<std::int64_t, std::unique_ptr<Watch>> watches_;
  std::int64_t next_id_ = 0;
  std::deque<etcdserverpb::WatchResponse> unsent_;
  std::deque<std::int64_t> behind_;  // ids; one that was canceled since stays and is passed over
  bool progress_requested_ = false;
  bool taken_ = false;
};

class WatchHub {
 public:
  explicit WatchHub(const Mvcc& mvcc) : mvcc_(mvcc) {}

  void OnCommit(const Mvcc::Commit& commit);
  // Those with messages that nobody is taking. Each is the caller's, which calls OnReady() once it
  // holds no lock.
  std::vector<WatchSession::Reader*> TakeReady();
  // A progress message for each watch that asked for them and knows everything.
  void NotifyProgress();
  bool wants_progress() const { return !progress_watches_.empty(); }
  std::size_t watch_count() const { return watch_count_; }

 private:
  friend class WatchSession;
  using Group = std::vector<WatchSession::Watch*>;
  struct Range {
    std::string begin, end;
    auto operator<=>(const Range&) const = default;
  };
  struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  using Groups = std::unordered_map<std::string, Group, StringHash, std::equal_to<>>;

  Group& GroupOf(const WatchSession::Watch& watch);
  void Add(WatchSession::Watch* watch);
  void Remove(WatchSession::Watch* watch);
  void Mark(const Group& group, const Mvcc::Change& change, std::int64_t revision);
  void MakeReady(WatchSession* session);

  const Mvcc& mvcc_;
  Groups keys_;
  Groups prefixes_;
  std::map<std::size_t, std::size_t> prefix_sizes_;  // how many groups there are of each size
  std::map<Range, Group> ranges_;
  std::vector<WatchSession*> ready_;
  std::unordered_set<WatchSession::Watch*> progress_watches_;
  std::size_t watch_count_ = 0;
};

}  // namespace memfabric::store
