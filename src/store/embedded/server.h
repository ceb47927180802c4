// store/embedded/server.h: an etcd v3 gRPC server inside this process, for jobs that bring no etcd
// cluster.
//
// State is in memory and ends with the server; what outlives that is republished by the clients.
// docs/store.md says what is served and what isn't.
//
// Owner: whoever serves the store (store/recipes/store_host.h, or create_config_store). Threads:
// any.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/url.h"
#include "store/tls/credentials.h"

namespace memfabric::store {

class EmbeddedServer {
 public:
  // a key that stands from the start, under a lease of its own that nobody keeps alive
  struct Seed {
    std::string key;
    std::string value;
    std::chrono::seconds time_to_live;
  };
  struct Options {
    HostPort listen;  // port 0: any free one, see address()
    Clock* clock = &SteadyClock();
    std::vector<Seed> seeds{};
    std::shared_ptr<const TlsCredentials> tls{};  // null: in the clear. Shared with clients of ours
  };

  // Returns once requests are answered. InUse: something else has the port. NotFound: the address
  // is none of this host's. InvalidArgument: our certificate can't be used (any more), or a
  // variable of the environment (MEMFABRIC_ALLOW_UIDS, MEMFABRIC_STORE_QUOTA) is malformed.
  static Result<std::unique_ptr<EmbeddedServer>> Start(const Options& options);

  virtual ~EmbeddedServer() = default;  // Ends open streams, then stops.
  virtual HostPort address() const = 0;
};

}  // namespace memfabric::store
