#include "store/embedded/mvcc.h"

#include <algorithm>
#include <utility>

namespace memfabric::store {
namespace {

std::size_t SizeOf(const Mvcc::Kv& kv) {
  return kv == nullptr ? 0 : Mvcc::BytesOf(kv->key().size(), kv->value().size());
}

}  // namespace

const Mvcc::Kv* Mvcc::At(const Versions& versions, std::int64_t revision) {
  if (versions.back().revision > revision) {
    auto after = std::upper_bound(
        versions.begin(), versions.end(), revision,
        [](std::int64_t wanted, const Version& version) { return wanted < version.revision; });
    if (after == versions.begin()) return nullptr;
    const Version& version = *std::prev(after);
    return version.kv == nullptr ? nullptr : &version.kv;
  }
  return versions.back().kv == nullptr ? nullptr : &versions.back().kv;
}

Mvcc::Kv Mvcc::Find(std::string_view key) const {
  auto found = keys_.find(key);
  return found == keys_.end() ? nullptr : found->second.back().kv;
}

void Mvcc::Append(Change change) {
  open_.bytes += SizeOf(change.kv) + SizeOf(change.previous);
  live_bytes_ -= SizeOf(change.previous);
  if (!change.deleted) live_bytes_ += SizeOf(change.kv);
  open_.changes.push_back(std::move(change));
}

const Mvcc::Change& Mvcc::Put(std::string_view key, std::string_view value, std::int64_t lease) {
  auto entry = keys_.find(key);
  if (entry == keys_.end()) entry = keys_.emplace(key, Versions()).first;
  Versions& versions = entry->second;
  Kv previous = versions.empty() ? nullptr : versions.back().kv;

  const std::int64_t revision = revision_ + 1;
  auto kv = std::make_shared<mvccpb::KeyValue>();
  kv->set_key(key.data(), key.size());
  kv->set_value(value.data(), value.size());
  kv->set_create_revision(previous == nullptr ? revision : previous->create_revision());
  kv->set_mod_revision(revision);
  kv->set_version(previous == nullptr ? 1 : previous->version() + 1);
  kv->set_lease(lease);
  versions.push_back({revision, kv});
  Append({std::move(kv), std::move(previous), false});
  return open_.changes.back();
}

std::size_t Mvcc::Delete(const KeyRange& range) {
  const std::int64_t revision = revision_ + 1;
  std::size_t deleted = 0;
  auto erase = [&](const std::string& key, Versions& versions) {
    Kv previous = versions.back().kv;
    if (previous == nullptr) return;
    auto tombstone = std::make_shared<mvccpb::KeyValue>();
    tombstone->set_key(key);
    tombstone->set_mod_revision(revision);
    versions.push_back({revision, nullptr});
    Append({std::move(tombstone), std::move(previous), true});
    ++deleted;
  };
  if (range.IsOneKey()) {
    if (auto found = keys_.find(range.begin); found != keys_.end())
      erase(found->first, found->second);
    return deleted;
  }
  for (auto entry = keys_.lower_bound(range.begin);
       entry != keys_.end() && !range.EndsBefore(entry->first); ++entry)
    erase(entry->first, entry->second);
  return deleted;
}

const Mvcc::Commit* Mvcc::CommitOpen() {
  if (open_.changes.empty()) return nullptr;
  open_.revision = ++revision_;
  history_bytes_ += open_.bytes;
  history_.push_back(std::exchange(open_, {}));
  return &history_.back();
}

Refusal Mvcc::Compact(std::int64_t revision) {
  if (revision <= compact_revision_) return &kCompacted;
  if (revision > revision_) return &kFutureRevision;
  const std::int64_t former = std::exchange(compact_revision_, revision);
  // Only keys that changed since the former compaction can have a version too many.
  for (const Commit& commit : history_) {
    if (commit.revision > revision) break;
    if (commit.revision < former) continue;
    for (const Change& change : commit.changes) TrimVersions(change.kv->key());
  }
  while (!history_.empty() && history_.front().revision < revision) {
    history_bytes_ -= history_.front().bytes;
    forgotten_bytes_ += history_.front().bytes;
    history_.pop_front();
  }
  return nullptr;
}

void Mvcc::TrimVersions(const std::string& key) {
  auto entry = keys_.find(key);
  if (entry == keys_.end()) return;
  Versions& versions = entry->second;
  auto after = std::upper_bound(
      versions.begin(), versions.end(), compact_revision_,
      [](std::int64_t wanted, const Version& version) { return wanted < version.revision; });
  if (after == versions.begin()) return;
  auto keep = std::prev(after);  // what is true at the compacted revision
  if (keep->kv == nullptr) ++keep;
  versions.erase(versions.begin(), keep);
  if (versions.empty()) keys_.erase(entry);
}

void Mvcc::CompactToLimits() {
  // In steps, since each has to go over the versions of the keys concerned.
  const bool too_many = history_.size() > limits_.revisions + limits_.revisions / 8;
  if (!too_many && history_bytes_ <= limits_.bytes + limits_.bytes / 8) return;
  std::size_t revisions = history_.size();
  std::size_t bytes = history_bytes_;
  std::int64_t oldest_kept = compact_revision_;
  for (const Commit& commit : history_) {
    oldest_kept = commit.revision;
    if (revisions <= limits_.revisions && bytes <= limits_.bytes) break;
    --revisions;
    bytes -= commit.bytes;
  }
  // refused only when the newest commit alone is past the limits, and is all there is
  (void)Compact(oldest_kept);
}

}  // namespace memfabric::store
