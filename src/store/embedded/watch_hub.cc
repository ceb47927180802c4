#include "store/embedded/watch_hub.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace memfabric::store {
namespace {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchResponse;

// a message ends after the revision that takes it past this
constexpr std::size_t kMessageBytes = 1 << 20;
constexpr std::int64_t kNoWatch = -1;
constexpr char kDuplicateWatchId[] = "mvcc: duplicate watch ID provided on the WatchStream";
constexpr char kEmptyRange[] = "mvcc: watcher range is empty";

bool IsPrefix(std::string_view begin, std::string_view end) { return PrefixEnd(begin) == end; }

void AddEvent(const Mvcc::Change& change, bool with_previous, WatchResponse* response) {
  mvccpb::Event* event = response->add_events();
  event->set_type(change.deleted ? mvccpb::Event::DELETE : mvccpb::Event::PUT);
  *event->mutable_kv() = *change.kv;
  if (with_previous && change.previous != nullptr) *event->mutable_prev_kv() = *change.previous;
}

}  // namespace

WatchSession::~WatchSession() {
  Close();
  std::erase(hub_.ready_, this);
}

void WatchSession::Close() {
  while (!watches_.empty()) Remove(watches_.begin());
  unsent_.clear();
  behind_.clear();
  progress_requested_ = false;
}

void WatchSession::Handle(const etcdserverpb::WatchRequest& request) {
  if (request.has_create_request()) Create(request.create_request());
  if (request.has_cancel_request()) Cancel(request.cancel_request().watch_id());
  if (request.has_progress_request()) progress_requested_ = true;
  hub_.MakeReady(this);
}

WatchResponse& WatchSession::AddUnsent(std::int64_t id) {
  WatchResponse& response = unsent_.emplace_back();
  response.mutable_header()->set_revision(hub_.mvcc_.revision());
  response.set_watch_id(id);
  return response;
}

void WatchSession::Create(const WatchCreateRequest& request) {
  auto watch = std::make_unique<Watch>();
  watch->session = this;
  watch->begin = request.key().empty() ? std::string(1, '\0') : request.key();
  watch->end = request.range_end();
  const bool is_empty = KeyRange{watch->begin, watch->end}.IsEmpty();
  const bool is_taken = request.watch_id() != 0 && watches_.contains(request.watch_id());
  if (is_empty || is_taken) {
    WatchResponse& response = AddUnsent(kNoWatch);
    response.set_created(true);
    response.set_canceled(true);
    response.set_cancel_reason(is_empty ? kEmptyRange : kDuplicateWatchId);
    return;
  }
  auto filters = [&](WatchCreateRequest::FilterType type) {
    return std::find(request.filters().begin(), request.filters().end(), type) !=
           request.filters().end();
  };
  watch->puts = !filters(WatchCreateRequest::NOPUT);
  watch->deletes = !filters(WatchCreateRequest::NODELETE);
  watch->previous = request.prev_kv();
  watch->progress = request.progress_notify();
  const std::int64_t next_revision = hub_.mvcc_.revision() + 1;
  watch->first_revision = request.start_revision() == 0 ? next_revision : request.start_revision();
  watch->id = request.watch_id();
  if (watch->id == 0) {
    while (watches_.contains(next_id_)) ++next_id_;
    watch->id = next_id_++;
  }
  AddUnsent(watch->id).set_created(true);
  hub_.Add(watch.get());
  if (watch->first_revision < next_revision) MarkBehind(*watch, watch->first_revision);
  watches_.emplace(watch->id, std::move(watch));
}

void WatchSession::Cancel(std::int64_t id) {
  auto watch = watches_.find(id);
  if (watch == watches_.end()) return;
  Remove(watch);
  AddUnsent(id).set_canceled(true);
}

void WatchSession::Remove(std::map<std::int64_t, std::unique_ptr<Watch>>::iterator watch) {
  hub_.Remove(watch->second.get());
  watches_.erase(watch);
}

void WatchSession::MarkBehind(Watch& watch, std::int64_t revision) {
  watch.behind_from = revision;
  behind_.push_back(watch.id);
  hub_.MakeReady(this);
}

bool WatchSession::Next(WatchResponse* response) {
  response->Clear();
  if (!unsent_.empty()) {
    *response = std::move(unsent_.front());
    unsent_.pop_front();
    return true;
  }
  while (!behind_.empty()) {
    auto found = watches_.find(behind_.front());
    behind_.pop_front();
    if (found == watches_.end() || found->second->behind_from == 0) continue;
    if (FillEvents(*found->second, response)) return true;
  }
  if (progress_requested_) {
    progress_requested_ = false;
    response->mutable_header()->set_revision(hub_.mvcc_.revision());
    response->set_watch_id(kNoWatch);
    return true;
  }
  taken_ = false;
  return false;
}

bool WatchSession::FillEvents(Watch& watch, WatchResponse* response) {
  response->set_watch_id(watch.id);
  const std::int64_t compacted = hub_.mvcc_.compact_revision();
  if (watch.behind_from < compacted) {
    response->mutable_header()->set_revision(hub_.mvcc_.revision());
    response->set_compact_revision(compacted);
    response->set_canceled(true);
    Remove(watches_.find(watch.id));
    return true;
  }
  const auto& history = hub_.mvcc_.history();
  const std::int64_t oldest = history.empty() ? 0 : history.front().revision;
  const KeyRange range{watch.begin, watch.end};
  std::int64_t revision = std::max(watch.behind_from, oldest);
  std::size_t bytes = 0;
  for (; revision <= hub_.mvcc_.revision() && bytes < kMessageBytes; ++revision) {
    if (history.empty()) continue;
    for (const Mvcc::Change& change :
         history[static_cast<std::size_t>(revision - oldest)].changes) {
      if (!(change.deleted ? watch.deletes : watch.puts) || !range.Contains(change.kv->key()))
        continue;
      AddEvent(change, watch.previous, response);
      bytes += change.kv->key().size() + change.kv->value().size() + 64;
      if (watch.previous && change.previous != nullptr) bytes += change.previous->value().size();
    }
  }
  if (revision <= hub_.mvcc_.revision()) {
    MarkBehind(watch, revision);  // behind the session's other watches, so that none starves
  } else {
    watch.behind_from = 0;
  }
  response->mutable_header()->set_revision(revision - 1);
  return response->events_size() > 0;
}

WatchHub::Group& WatchHub::GroupOf(const WatchSession::Watch& watch) {
  if (watch.end.empty()) return keys_[watch.begin];
  if (IsPrefix(watch.begin, watch.end)) {
    auto [group, is_new] = prefixes_.try_emplace(watch.begin);
    if (is_new) ++prefix_sizes_[watch.begin.size()];
    return group->second;
  }
  return ranges_[{watch.begin, watch.end}];
}

void WatchHub::Add(WatchSession::Watch* watch) {
  Group& group = GroupOf(*watch);
  watch->slot = group.size();
  group.push_back(watch);
  ++watch_count_;
  if (watch->progress) progress_watches_.insert(watch);
}

void WatchHub::Remove(WatchSession::Watch* watch) {
  Group& group = GroupOf(*watch);
  group.back()->slot = watch->slot;
  group[watch->slot] = group.back();
  group.pop_back();
  --watch_count_;
  progress_watches_.erase(watch);
  if (!group.empty()) return;
  if (watch->end.empty()) {
    keys_.erase(watch->begin);
  } else if (IsPrefix(watch->begin, watch->end)) {
    prefixes_.erase(watch->begin);
    if (auto size = prefix_sizes_.find(watch->begin.size()); --size->second == 0)
      prefix_sizes_.erase(size);
  } else {
    ranges_.erase({watch->begin, watch->end});
  }
}

void WatchHub::OnCommit(const Mvcc::Commit& commit) {
  for (const Mvcc::Change& change : commit.changes) {
    const std::string_view key = change.kv->key();
    if (auto group = keys_.find(key); group != keys_.end())
      Mark(group->second, change, commit.revision);
    for (const auto& [size, groups] : prefix_sizes_) {
      if (size > key.size()) break;
      if (auto group = prefixes_.find(key.substr(0, size)); group != prefixes_.end())
        Mark(group->second, change, commit.revision);
    }
    for (const auto& [range, group] : ranges_) {
      if (range.begin > key) break;
      if (KeyRange{range.begin, range.end}.Contains(key)) Mark(group, change, commit.revision);
    }
  }
}

void WatchHub::Mark(const Group& group, const Mvcc::Change& change, std::int64_t revision) {
  for (WatchSession::Watch* watch : group) {
    const bool wanted = change.deleted ? watch->deletes : watch->puts;
    if (wanted && watch->behind_from == 0 && revision >= watch->first_revision)
      watch->session->MarkBehind(*watch, revision);
  }
}

void WatchHub::MakeReady(WatchSession* session) {
  if (session->taken_) return;
  session->taken_ = true;
  ready_.push_back(session);
}

std::vector<WatchSession::Reader*> WatchHub::TakeReady() {
  std::vector<WatchSession::Reader*> readers;
  readers.reserve(ready_.size());
  for (WatchSession* session : ready_) readers.push_back(&session->reader_);
  ready_.clear();
  return readers;
}

void WatchHub::NotifyProgress() {
  for (WatchSession::Watch* watch : progress_watches_) {
    WatchSession& session = *watch->session;
    if (watch->behind_from != 0 || session.IsFull()) continue;
    session.AddUnsent(watch->id);
    MakeReady(&session);
  }
}

}  // namespace memfabric::store
