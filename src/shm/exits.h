// shm/exits.h: global_exit: one rank tells all of an object to end.
//
// It goes through the store, so that it reaches every host and needs nobody's memory. The user's
// function is called on a thread of its own that belongs to nobody: it may end the process.
//
// Owner: the object. Threads: any.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "base/status.h"
#include "runtime/job.h"
#include "store/recipes/directory.h"

namespace memfabric::shm {

class Exits {
 public:
  using Function = void (*)(int status);

  // Listens from Ok on. `on_exit` hears first, from another thread: which rank called, and with
  // what.
  static Result<std::unique_ptr<Exits>> Listen(Job& job, std::uint32_t object, std::uint64_t lead,
                                               std::function<void(Rank, int)> on_exit,
                                               Deadline deadline);
  ~Exits();

  // Called once with the status when any rank calls Tell, at once if one has; null for nobody.
  void Register(Function function);
  Status Tell(Rank rank, int status, Deadline deadline);

 private:
  Exits(Job& job, std::uint32_t object, std::uint64_t lead, std::function<void(Rank, int)> on_exit);
  void OnExit(const store::KeyValue& entry);
  static void Call(Function function, int status);

  Job& job_;
  const std::uint32_t object_;
  const std::uint64_t lead_;
  const std::function<void(Rank, int)> on_exit_;
  std::mutex mutex_;  // guards what follows
  Function function_ = nullptr;
  std::optional<int> status_;
  bool told_ = false;
  std::unique_ptr<store::Directory> directory_;  // ends first
};

}  // namespace memfabric::shm
