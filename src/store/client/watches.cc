#include "store/client/watches.h"

#include <algorithm>
#include <utility>

#include "base/mutex.h"
#include "store/client/wire.h"

namespace memfabric::store {
namespace {

namespace pb = etcdserverpb;

constexpr std::chrono::seconds kSnapshotTimeout{10};

}  // namespace

class Watches::Handle final : public Watch {
 public:
  Handle(Watches& watches, std::shared_ptr<Entry> entry)
      : watches_(watches), entry_(std::move(entry)) {}
  ~Handle() override { watches_.Remove(entry_); }

 private:
  Watches& watches_;
  const std::shared_ptr<Entry> entry_;
};

void Watches::Attach(const std::shared_ptr<StoreConnection>& connection,
                     std::uint64_t incarnation) {
  // The stream knows itself weakly, so that it goes when it has ended.
  auto self = std::make_shared<std::weak_ptr<WatchStream>>();
  auto stream = std::make_shared<WatchStream>(
      connection,
      WatchStream::Handler{
          .on_response = [this, self](const auto& response) { OnResponse(self->lock(), response); },
          .on_end = [this,
                     connection](const grpc::Status& status) { on_end_(connection, status); }});
  *self = stream;
  {
    MutexLock lock(mutex_);
    connection_ = connection;
    stream_ = stream;
    incarnation_ = incarnation;
    for (const auto& entry : entries_) Resume(entry);
  }
  // else the client is closing
  static_cast<void>(stream->Open(&pb::Watch::Stub::PrepareAsyncWatch));
}

void Watches::Detach() {
  MutexLock lock(mutex_);
  connection_.reset();
  stream_.reset();
  creating_.clear();
  by_server_id_.clear();
  for (const auto& entry : entries_) entry->server_id = kNoServerId;
}

std::unique_ptr<Watch> Watches::Add(std::string_view prefix, std::int64_t start_revision,
                                    Client::WatchHandler handler) {
  auto entry = std::make_shared<Entry>(prefix, std::move(handler));
  MutexLock lock(mutex_);
  entry->next_revision = start_revision;
  entry->incarnation = incarnation_;
  entry->informed = start_revision != 0;
  entries_.push_back(entry);
  if (connection_ != nullptr) Resume(entry);
  return std::make_unique<Handle>(*this, entry);
}

void Watches::Remove(const std::shared_ptr<Entry>& entry) {
  {
    MutexLock lock(mutex_);
    entry->removed = true;
    entries_.remove(entry);
    if (entry->server_id != kNoServerId) Cancel(*entry);
  }
  RecursiveMutexLock calling(entry->calling);
  entry->ended = true;
}

void Watches::Resume(const std::shared_ptr<Entry>& entry) {
  if (entry->incarnation != incarnation_) {
    entry->replaced = entry->informed;
    entry->next_revision = 0;
    entry->incarnation = incarnation_;
  }
  if (entry->next_revision == 0) {
    ReadSnapshot(entry);
  } else {
    Create(entry);
  }
}

void Watches::Create(const std::shared_ptr<Entry>& entry) {
  pb::WatchRequest request;
  auto* create = request.mutable_create_request();
  SetPrefix(entry->prefix, create);
  create->set_start_revision(entry->next_revision);
  creating_.push_back(entry);
  stream_->Send(std::move(request));
}

void Watches::Cancel(Entry& entry) {
  pb::WatchRequest request;
  request.mutable_cancel_request()->set_watch_id(entry.server_id);
  stream_->Send(std::move(request));
  by_server_id_.erase(std::exchange(entry.server_id, kNoServerId));
}

void Watches::ReadSnapshot(const std::shared_ptr<Entry>& entry) {
  ReadPage(entry, std::make_shared<PagedRead>(entry->prefix));
}

void Watches::ReadPage(const std::shared_ptr<Entry>& entry,
                       const std::shared_ptr<PagedRead>& read) {
  // When it can't be started, the connection has ended, and the next one resumes the watch.
  static_cast<void>(connection_->Start<pb::KV::Stub, pb::RangeRequest, pb::RangeResponse>(
      &pb::KV::Stub::PrepareAsyncRange, read->request(),
      std::chrono::steady_clock::now() + kSnapshotTimeout,
      [this, entry, read, connection = connection_](const grpc::Status& status,
                                                    const pb::RangeResponse& response) {
        if (status.ok()) {
          OnPage(entry, connection, read, response);
        } else if (status.error_code() == grpc::StatusCode::OUT_OF_RANGE) {
          MutexLock lock(mutex_);  // the store has forgotten that revision meanwhile
          if (connection == connection_ && !entry->removed) ReadSnapshot(entry);
        } else {
          on_end_(connection, status);  // the next connection tries again
        }
      }));
}

void Watches::OnPage(const std::shared_ptr<Entry>& entry,
                     const std::shared_ptr<StoreConnection>& connection,
                     const std::shared_ptr<PagedRead>& read, const pb::RangeResponse& response) {
  MutexLock lock(mutex_);
  if (connection != connection_ || entry->removed) return;
  if (!read->Add(response)) return ReadPage(entry, read);
  const Snapshot snapshot = read->Take();
  entry->next_revision = snapshot.revision + 1;
  entry->informed = true;
  Create(entry);
  const bool replaced = std::exchange(entry->replaced, false);
  lock.Unlock();
  RecursiveMutexLock calling(entry->calling);
  if (!entry->ended) entry->handler.on_reset(snapshot, replaced);
}

void Watches::OnResponse(const std::shared_ptr<WatchStream>& stream,
                         const pb::WatchResponse& response) {
  MutexLock lock(mutex_);
  if (stream != stream_) return;
  if (response.created()) {
    if (creating_.empty()) return;
    auto entry = creating_.front();
    creating_.pop_front();
    entry->server_id = response.watch_id();
    by_server_id_[response.watch_id()] = entry;
    if (entry->removed && !response.canceled()) return Cancel(*entry);
  }
  auto found = by_server_id_.find(response.watch_id());
  if (found == by_server_id_.end()) return;
  auto entry = found->second;

  if (response.canceled()) {
    by_server_id_.erase(found);
    entry->server_id = kNoServerId;
    if (entry->removed) return;
    if (response.compact_revision() > 0) {  // the history from next_revision on is gone
      entry->next_revision = 0;
      return ReadSnapshot(entry);
    }
    auto connection = connection_;
    lock.Unlock();
    return on_end_(connection, grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                            "it ended a watch: " + response.cancel_reason()));
  }
  std::vector<WatchEvent> events;
  events.reserve(response.events_size());
  for (const auto& event : response.events())
    if (event.kv().mod_revision() >= entry->next_revision) events.push_back(FromWire(event));
  if (events.empty()) return;
  entry->next_revision = events.back().entry.mod_revision + 1;
  lock.Unlock();
  RecursiveMutexLock calling(entry->calling);
  if (!entry->ended) entry->handler.on_events(events);
}

}  // namespace memfabric::store
