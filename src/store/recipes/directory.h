// store/recipes/directory.h: who is there, by watch and by direct read.
//
// A directory follows one prefix. After the store was replaced, an entry that is missing is
// reported as gone only once its owner has had a session's time to publish it again.
//
// Threads: any. The listener is called on a thread of the client or of the directory, one call at a
// time, without locks held.

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"
#include "store/client/client.h"

namespace memfabric::store {

class Directory {
 public:
  struct Listener {
    std::function<void(const KeyValue&)> on_put;      // new, or changed (another value than before)
    std::function<void(const KeyValue&)> on_removed;  // the entry as it was last known
  };
  // Returns once the listener has heard of all that stands there now.
  static Result<std::unique_ptr<Directory>> Follow(Client& client, std::string_view prefix,
                                                   Listener listener, Clock& clock,
                                                   Deadline deadline);
  virtual ~Directory() = default;  // No call of the listener follows.
};

}  // namespace memfabric::store
