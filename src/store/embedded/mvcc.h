// store/embedded/mvcc.h: keys with their versions, and the history of changes, as etcd counts them.
//
// The store begins at revision 1; every transaction that changes something makes the next one. What
// was true at a revision, and what changed in it, can be told from compact_revision() on. The
// history is bounded: when it grows past Limits, the oldest part is compacted by itself.
//
// Owner: State. Threads: one at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "store/embedded/key_range.h"
#include "store/embedded/refusal.h"
#include "store/proto/kv.pb.h"

namespace memfabric::store {

class Mvcc {
 public:
  // Shared by the key's versions and by the history, which let go of it in either order.
  using Kv = std::shared_ptr<const mvccpb::KeyValue>;

  struct Change {
    Kv kv;  // of a deletion: the key and its revision only
    Kv previous;
    bool deleted = false;
  };
  struct Commit {
    std::int64_t revision = 0;
    std::size_t bytes = 0;
    std::vector<Change> changes;
  };
  struct Limits {
    std::size_t revisions = 10'000;
    std::size_t bytes = 32 << 20;
    std::size_t live_bytes = 64 << 20;  // of what stands; for who writes to hold to (Kv)
  };
  // What a key with a value takes, with the structures around it, roughly.
  static constexpr std::size_t BytesOf(std::size_t key_size, std::size_t value_size) {
    return key_size + value_size + 128;
  }

  explicit Mvcc(Limits limits) : limits_(limits) {}

  std::int64_t revision() const { return revision_; }
  // What a read sees: within a transaction that has changed something already, the revision that it
  // makes.
  std::int64_t visible_revision() const { return revision_ + (open_.changes.empty() ? 0 : 1); }
  std::int64_t compact_revision() const { return compact_revision_; }
  std::size_t live_bytes() const { return live_bytes_; }
  std::size_t history_bytes() const { return history_bytes_; }
  // of history, since the beginning
  std::size_t forgotten_bytes() const { return forgotten_bytes_; }
  std::size_t most_live_bytes() const { return limits_.live_bytes; }
  std::size_t key_count() const { return keys_.size(); }

  // One for each revision from max(compact_revision(), 2) to revision(), in order.
  const std::deque<Commit>& history() const { return history_; }

  // The newest version that is visible; null when there is none.
  Kv Find(std::string_view key) const;
  // Calls visit(const Kv&) for each key of the range, by key, as it was at `revision`, until it
  // returns false. REQUIRES: compact_revision() <= revision <= visible_revision().
  template <typename Visitor>
  void Visit(const KeyRange& range, std::int64_t revision, Visitor visit) const {
    if (range.IsOneKey()) {
      if (auto found = keys_.find(range.begin); found != keys_.end())
        if (const Kv* kv = At(found->second, revision)) visit(*kv);
      return;
    }
    for (auto entry = keys_.lower_bound(range.begin);
         entry != keys_.end() && !range.EndsBefore(entry->first); ++entry)
      if (const Kv* kv = At(entry->second, revision); kv != nullptr && !visit(*kv)) return;
  }

  // Both belong to the open transaction, which CommitOpen() ends.
  const Change& Put(std::string_view key, std::string_view value, std::int64_t lease);
  // Changes made by it: the last ones, as many as it returns, of open_changes().
  std::size_t Delete(const KeyRange& range);
  const std::vector<Change>& open_changes() const { return open_.changes; }

  // Null when the transaction changed nothing. The pointer holds until the next call that isn't
  // const.
  const Commit* CommitOpen();

  // Forgets what was before `revision`. kCompacted, kFutureRevision.
  Refusal Compact(std::int64_t revision);
  // Keeps the history within its limits. Call after CommitOpen().
  void CompactToLimits();

 private:
  struct Version {
    std::int64_t revision;
    Kv kv;  // null: deleted
  };
  using Versions = std::vector<Version>;  // by revision

  static const Kv* At(const Versions& versions, std::int64_t revision);
  void Append(Change change);
  void TrimVersions(const std::string& key);

  const Limits limits_;
  std::int64_t revision_ = 1;
  std::int64_t compact_revision_ = -1;
  std::size_t live_bytes_ = 0;
  std::size_t history_bytes_ = 0;
  std::size_t forgotten_bytes_ = 0;
  std::map<std::string, Versions, std::less<>> keys_;
  std::deque<Commit> history_;
  Commit open_;
};

}  // namespace memfabric::store
