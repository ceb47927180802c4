// store/recipes/store_host.h: which process serves the embedded store.
//
// Start serves it here if nobody does yet. From then on, when the process that serves it dies, the
// first of the processes on its host that notices takes the address over: an empty store with the
// `recovering` key, which tells newcomers to wait until everybody has published again. Only for
// tcp:// URLs.
//
// Threads: any; one thread of its own, asleep while the store answers.

#pragma once

#include <memory>

#include "base/clock.h"
#include "base/status.h"
#include "base/url.h"
#include "store/client/client.h"
#include "store/embedded/server.h"
#include "store/recipes/keys.h"

namespace memfabric::store {

enum class Serve {
  // serve unless a store answers there already (rank 0, auto-ranking, create_config_store)
  kNow,
  kWhenOrphaned  // only take over
};

class StoreHost {
 public:
  // kNow: Ok once a store answers at the url, ours or another's. InUse: something that isn't a
  // store has the port (named). When the url's address is none of this host's: Ok, and this process
  // never serves.
  // `tls`: null for none.
  static Result<std::unique_ptr<StoreHost>> Start(const StoreUrl& url, Serve serve,
                                                  std::shared_ptr<const TlsCredentials> tls,
                                                  Deadline deadline);
  virtual ~StoreHost() = default;  // Stops serving.

  virtual bool serving() const = 0;
  // The client says that the store doesn't answer any more; takes over if this host may, on a
  // thread that is started for it. Returns at once. OutOfMemory: the machine refuses the thread;
  // nothing happens.
  virtual Status OnStoreLost() = 0;
};

}  // namespace memfabric::store
