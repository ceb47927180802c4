#include "shm/exits.h"

#include <chrono>
#include <utility>

#include "base/log.h"
#include "base/thread.h"
#include "store/recipes/records.h"

namespace memfabric::shm {
namespace {

constexpr std::chrono::milliseconds kWithdrawTimeout{2000};

}  // namespace

Exits::Exits(Job& job, std::uint32_t object, std::uint64_t lead,
             std::function<void(Rank, int)> on_exit)
    : job_(job), object_(object), lead_(lead), on_exit_(std::move(on_exit)) {}

Result<std::unique_ptr<Exits>> Exits::Listen(Job& job, std::uint32_t object, std::uint64_t lead,
                                             std::function<void(Rank, int)> on_exit,
                                             Deadline deadline) {
  std::unique_ptr<Exits> exits(new Exits(job, object, lead, std::move(on_exit)));
  store::Directory::Listener listener;
  listener.on_put = [raw = exits.get()](const store::KeyValue& entry) { raw->OnExit(entry); };
  listener.on_removed = [](const store::KeyValue&) {};
  ASSIGN_OR_RETURN(exits->directory_,
                   store::Directory::Follow(job.client(), job.keys().ObjectExit(object),
                                            std::move(listener), SteadyClock(), deadline));
  return exits;
}

Exits::~Exits() {
  directory_.reset();
  if (!told_) return;
  Status withdrawn = job_.session().Withdraw(job_.keys().ObjectExit(object_),
                                             std::chrono::steady_clock::now() + kWithdrawTimeout);
  if (!withdrawn.ok())
    LOG(kInfo, "object {}: the store will forget its exit when the lease ends", object_);
}

void Exits::Call(Function function, int status) {
  if (function == nullptr) return;
  // It may end the process, which waits for threads that wait for this one. Without a thread of its
  // own it is called here: late is better than never.
  Status started = Thread::StartDetached(
      "mf-exit", [function, status] { function(status); }, Thread::Stack::kTheUsers);
  if (!started.ok()) function(status);
}

void Exits::Register(Function function) {
  std::unique_lock lock(mutex_);
  function_ = function;
  auto status = status_;
  lock.unlock();
  if (status.has_value()) Call(function, *status);
}

void Exits::OnExit(const store::KeyValue& entry) {
  auto record = store::DecodeObjectExit(entry);
  if (!record.ok()) {
    LOG(kWarn, "{}", record.status().message());
    return;
  }
  if (record->lead() != lead_) return;
  std::unique_lock lock(mutex_);
  if (status_.has_value()) return;
  status_ = record->status();
  Function function = function_;
  lock.unlock();
  on_exit_(record->rank(), record->status());
  Call(function, record->status());
}

Status Exits::Tell(Rank rank, int status, Deadline deadline) {
  store::ObjectExit record;
  record.set_rank(rank);
  record.set_lead(lead_);
  record.set_status(status);
  {
    std::lock_guard lock(mutex_);
    told_ = true;
  }
  Status told = job_.session().Publish(job_.keys().ObjectExit(object_), store::EncodeRecord(record),
                                       deadline);
  return IsAlreadyExists(told) ? Ok() : told;  // another rank was first
}

}  // namespace memfabric::shm
